//! The same tests once more as an ordinary user, with and without the right to open /dev/net/tun.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use duress_testing::{Missing, Need, REQUIRE};
use libtest_mimic::{Completion, Failed, Trial};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// "nobody", wherever there is one.
const USER: u32 = 65534;
const DEVICE: &str = "/dev/net/tun";
/// Set for the second round, which must not start a third.
const SECOND_ROUND: &str = "ARENA_TEST_SECOND_ROUND";

pub fn register(trials: &mut Vec<Trial>) {
    if std::env::var_os(SECOND_ROUND).is_some() {
        return;
    }
    for (name, mode) in [("with_tun", 0o666), ("without_tun", 0o600)] {
        trials.push(Trial::ignorable_test(format!("as_ordinary_user::{name}"), move || second_round(mode)));
    }
}

fn second_round(mode: u32) -> Result<Completion, Failed> {
    if !geteuid().is_root() {
        return Missing::new(Need::Root, "these tests already run as an ordinary user").ended();
    }
    let folder = TempDir::new()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    // The build's own folder may be closed to other users.
    let program = folder.path().join("arena");
    fs::copy(std::env::current_exe()?, &program)?;
    if !Path::new(DEVICE).exists() {
        return Missing::new(Need::Root, format!("there is no {DEVICE}")).ended();
    }
    let Ok(_device) = StandIn::put(folder.path(), mode) else {
        return Missing::new(Need::Root, "device nodes may not be made here: not really root").ended();
    };
    let mut command = Command::new(&program);
    command
        .env_remove(REQUIRE)
        .uid(USER)
        .gid(USER)
        .env(SECOND_ROUND, "1")
        .env("TMPDIR", "/tmp")
        .current_dir("/");
    let arguments: Vec<OsString> = vec!["--test-threads=1".into()];
    let output = command.args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let tun_passed = text.lines().any(|line| line.contains("tun::tcp_passes_whole") && line.ends_with("ok"));
    let packet_passed =
        text.lines().any(|line| line.contains("packet::tcp_passes_whole") && line.ends_with("ok"));
    if !packet_passed || tun_passed != (mode == 0o666) {
        return Err(format!("other tests than expected have run:\n{text}").into());
    }
    Ok(Completion::Completed)
}

/// A device node of the same kind over the machine's own, with the mode that is wanted. The mount is this
/// process's alone, so that the machine's own node stays as it is.
struct StandIn;

impl StandIn {
    fn put(folder: &Path, mode: u32) -> nix::Result<Self> {
        let place = folder.join("dev");
        fs::create_dir(&place).map_err(|_| nix::Error::EIO)?;
        // A file system on which device nodes work; temporary folders often forbid them.
        mount(Some("arena"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        let node = place.join("tun");
        let made = mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200))
            .and_then(|()| {
                fs::set_permissions(&node, Permissions::from_mode(mode)).map_err(|_| nix::Error::EIO)
            })
            .and_then(|()| mount(Some(&node), DEVICE, None::<&str>, MsFlags::MS_BIND, None::<&str>));
        // The node stays mounted where it is wanted.
        nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH)?;
        made.map(|()| Self)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The mount goes with the namespace at the latest.
        let _ = umount(DEVICE);
    }
}
