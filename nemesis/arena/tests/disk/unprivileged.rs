//! The same tests once more as an ordinary user, with and without the right to open /dev/fuse.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use duress_testing::{Missing, Need, REQUIRE};
use libtest_mimic::{Completion, Failed, Trial};
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tempfile::TempDir;

use crate::fixture::Outside;

/// "nobody", wherever there is one.
const USER: u32 = 65534;
const DEVICE: &str = "/dev/fuse";
/// Set for the second round, which must not start a third.
const SECOND_ROUND: &str = "DURESS_DISK_SECOND_ROUND";

pub fn register(trials: &mut Vec<Trial>, outside: &Outside) {
    if std::env::var_os(SECOND_ROUND).is_some() {
        return;
    }
    let is_root = outside.is_root;
    for (name, mode) in [("who_may_open_it", 0o666), ("who_may_not_open_it", 0o600)] {
        let test = move || second_round(is_root, mode);
        trials.push(Trial::ignorable_test(format!("as_ordinary_user::{name}"), test));
    }
}

fn second_round(is_root: bool, mode: u32) -> Result<Completion, Failed> {
    if !is_root {
        return Missing::new(Need::Root, "these tests already run as an ordinary user").ended();
    }
    if !Path::new(DEVICE).exists() {
        return Missing::new(Need::Root, format!("there is no {DEVICE}")).ended();
    }
    let folder = TempDir::new()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    // The build's own folder may be closed to other users.
    let program = folder.path().join("disk-test");
    fs::copy(std::env::current_exe()?, &program)?;
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
        .env("HOME", "/")
        .current_dir("/");
    let output = command.env("DURESS_DISK_ROUNDS", "3").env("DURESS_DISK_CASES", "10").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let mounted = text.lines().any(|line| line.contains("model::journal") && line.ends_with("ok"));
    let skipped = text.lines().any(|line| line.contains("ignored") && line.contains("chmod 0666"));
    if (mounted, skipped) != (mode == 0o666, mode != 0o666) {
        return Err(format!("other tests than expected have run:\n{text}").into());
    }
    Ok(Completion::Completed)
}

/// A device node of the same kind over the machine's own, with the mode that is wanted. The mount is these
/// namespaces' alone, so that the machine's own node stays as it is.
struct StandIn;

impl StandIn {
    fn put(folder: &Path, mode: u32) -> nix::Result<Self> {
        let place = folder.join("dev");
        fs::create_dir(&place).map_err(|_| nix::Error::EIO)?;
        // A file system on which device nodes work; temporary folders often forbid them.
        mount(Some("disk"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        let node = place.join("fuse");
        let made = mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 229))
            .and_then(|()| {
                fs::set_permissions(&node, Permissions::from_mode(mode)).map_err(|_| nix::Error::EIO)
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
