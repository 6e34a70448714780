//! The client of the toy store, in Rust. duress starts it, and speaks to it through duress_client.rs.

mod duress_client;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use duress_client::{Client, Failure, Json, Seat, run};

struct Toy {
    vocabulary: String,
    connection: BufReader<TcpStream>,
}

impl Toy {
    fn ask<'a>(&mut self, request: impl IntoIterator<Item = (&'a str, Json)>) -> Result<Json, Failure> {
        // From here on an error leaves it open: the request may arrive.
        self.connection.get_mut().write_all(format!("{}\n", Json::map(request)).as_bytes())?;
        let mut line = String::new();
        if self.connection.read_line(&mut line)? == 0 {
            return Err(Failure::Info("the connection was closed".to_owned()));
        }
        let answer = Json::parse(&line).map_err(Failure::Info)?;
        match answer.get("result").text().as_str() {
            "unavailable" => Err(Failure::Fail("the node has no connection to the primary".to_owned())),
            "mismatch" => Err(Failure::Mismatch),
            _ => Ok(answer),
        }
    }
}

impl Client for Toy {
    fn open(seat: &Seat) -> Result<Self, Failure> {
        let address: SocketAddr = seat.address.parse().map_err(|_| Failure::Fail("no address".to_owned()))?;
        let connection = TcpStream::connect_timeout(&address, seat.timeout)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(seat.timeout))?;
        connection.set_write_timeout(Some(seat.timeout))?;
        Ok(Toy { vocabulary: seat.vocabulary.clone(), connection: BufReader::new(connection) })
    }

    // The workloads register and counter
    fn read(&mut self, key: &str) -> Result<Json, Failure> {
        let answer = self.ask([("op", "read".into()), ("key", key.into())])?;
        match answer.get("value") {
            Json::Null if self.vocabulary == "counter" => Ok(0.into()),
            value => Ok(value.clone()),
        }
    }

    // The workload register
    fn write(&mut self, key: &str, value: &Json) -> Result<(), Failure> {
        self.ask([("op", "write".into()), ("key", key.into()), ("value", value.clone())]).map(drop)
    }

    fn cas(&mut self, key: &str, before: &Json, after: &Json) -> Result<(), Failure> {
        let values = [("old", before.clone()), ("new", after.clone())];
        self.ask([("op", "cas".into()), ("key", key.into())].into_iter().chain(values)).map(drop)
    }

    // The workload counter
    fn add(&mut self, key: &str, delta: &Json) -> Result<(), Failure> {
        self.ask([("op", "add".into()), ("key", key.into()), ("delta", delta.clone())]).map(drop)
    }
}

fn main() {
    run::<Toy>()
}
