use duress_nemesis::arena::*;
use duress_history::NodeId;
use std::time::*;
use std::io::{Read,Write};
fn main() {
    match isolate().unwrap() { Role::Outer(s) => { println!("outer: {s}"); std::process::exit(s.code().unwrap_or(255)) } Role::Runner => {} }
    for kind in [PortKind::best().unwrap(), PortKind::Packet] {
        let t = Instant::now();
        let spec = ArenaSpec { hosts: (1..=3).map(|i| HostSpec{ name: NodeId::new(format!("n{i}")), address: std::net::Ipv4Addr::new(10,77,0,i)}).collect(), port: kind, tcp_rto_max: Some(Duration::from_secs(1)) };
        let arena = Arena::build(&spec).unwrap();
        println!("{kind:?} built in {:?}", t.elapsed());
        let (a,b)=(NodeId::new("n1"),NodeId::new("n2"));
        let h1 = arena.host(&a).unwrap().clone(); let h2 = arena.host(&b).unwrap().clone();
        println!("{:?}", arena.switch().probe(&[(a.clone(),b.clone()),(b.clone(),a.clone())], Duration::from_secs(1)));
        let t=arena.switch().apply(vec![(a.clone(),b.clone(),LinkPolicy::CUT)]).unwrap();
        println!("{:?} {:?}", t.elapsed(), arena.switch().probe(&[(a.clone(),b.clone()),(b.clone(),a.clone())], Duration::from_secs(1)));
        arena.switch().apply(vec![(a.clone(),b.clone(),LinkPolicy::OPEN)]).unwrap();
        println!("{:?}", arena.switch().counters(&a,&b));
        let l = h2.enter(|| std::net::TcpListener::bind("10.77.0.2:7000")).unwrap().unwrap();
        let th = std::thread::spawn(move || { let (mut s,_) = l.accept().unwrap(); s.set_nodelay(true).unwrap(); let mut b=[0;64]; while s.read_exact(&mut b).is_ok() { s.write_all(&b).unwrap() } });
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let s = rt.block_on(h1.connect("10.77.0.2:7000".parse().unwrap(), Duration::from_secs(1))).unwrap();
        println!("{:?}", rt.block_on(h1.connect("10.77.0.2:7001".parse().unwrap(), Duration::from_secs(1))).map_err(|e|e.kind()));
        let mut s = s.into_std().unwrap(); s.set_nonblocking(false).unwrap();
        let t=Instant::now(); let mut buf=[7;64];
        for _ in 0..5000 { s.write_all(&buf).unwrap(); s.read_exact(&mut buf).unwrap(); }
        println!("rtt {:?}", t.elapsed()/5000);
        drop(s); th.join().unwrap();
        let mut p = h1.spawn(&ProcessSpec{program:"/bin/sh".into(),args:vec!["-c".into(),"setsid sh -c 'sleep 100 & sleep 200' & ip a; sleep 300".into()],env:vec![],cwd:None,stdout:"/tmp/arena-out".into(),stderr:"/tmp/arena-err".into()}).unwrap();
        while h1.pids().unwrap().len()<5 {}
        println!("{:?} {:?}", h1.pids(), p.state());
        println!("{:?} {:?}", p.pause(Duration::from_secs(2)), p.state());
        println!("{:?} {:?}", p.resume(Duration::from_secs(2)), p.state());
        println!("{:?} {:?}", p.kill(Duration::from_secs(2)), p.state());
        arena.close().unwrap();
    }
    std::process::exit(7);
}
