//! The same tests once more as an ordinary user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use duress_testing::{Missing, Need, REQUIRE};
use libtest_mimic::{Completion, Failed, Trial};
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// "nobody", wherever there is one.
const USER: u32 = 65534;
/// Set for the second round, which must not start a third.
const SECOND_ROUND: &str = "DURESS_FAULTS_SECOND_ROUND";
const DEVICE: &str = "/dev/fuse";

pub fn register(trials: &mut Vec<Trial>) {
    if std::env::var_os(SECOND_ROUND).is_none() {
        trials.push(Trial::ignorable_test("as_ordinary_user", second_round));
    }
}

fn second_round() -> Result<Completion, Failed> {
    if !geteuid().is_root() {
        return Missing::new(Need::Root, "these tests already run as an ordinary user").ended();
    }
    let folder = TempDir::new()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    // The build's own folder may be closed to other users.
    let program = folder.path().join("faults");
    fs::copy(std::env::current_exe()?, &program)?;
    // If the machine restricts the device to root, disks would go untested.
    let device = StandIn::put(folder.path());
    if let Err(error) = &device {
        println!(
            "as an ordinary user: without a device node of their own ({error}), disks are as the machine has them"
        );
    }
    let mut command = Command::new(&program);
    command
        .env_remove(REQUIRE)
        .uid(USER)
        .gid(USER)
        .env(SECOND_ROUND, "1")
        .env("TMPDIR", "/tmp")
        .current_dir("/");
    let output = command.arg("--test-threads=1").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    // Report the tests skipped there, with their reasons.
    text.lines()
        .filter(|line| line.contains("ignored"))
        .for_each(|line| println!("as an ordinary user: {line}"));
    Ok(Completion::Completed)
}

/// A device node that every user may open, over the machine's own. The mount is in these namespaces only, so
/// that the machine's own node stays as it is.
struct StandIn;

impl StandIn {
    fn put(folder: &Path) -> nix::Result<Self> {
        let place = folder.join("dev");
        fs::create_dir(&place).map_err(|_| nix::Error::EIO)?;
        // A file system on which device nodes work; temporary folders often forbid them.
        mount(Some("faults"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        let node = place.join("fuse");
        let made = mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 229))
            .and_then(|()| {
                fs::set_permissions(&node, Permissions::from_mode(0o666)).map_err(|_| nix::Error::EIO)
            })
            .and_then(|()| mount(Some(&node), DEVICE, None::<&str>, MsFlags::MS_BIND, None::<&str>));
        // The node stays mounted where it is wanted.
        umount2(&place, MntFlags::MNT_DETACH)?;
        made.map(|()| Self)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The mount goes with the namespaces at the latest.
        let _gone_later = umount(DEVICE);
    }
}
