//! Compiles the library that is preloaded into programs with a clock of their own, so that the crate can carry it.
//!
//! Cargo does not place a dynamic library beside a program built from this crate. The library is one file
//! without dependencies, so a plain call of the compiler that cargo uses compiles it. If the compilation
//! fails, the crate is built without the library and reports that when asked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "shim/absolute_waits.rs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder"));
    let library = out.join("absolute_waits.so");
    let built = match compile(&library) {
        Ok(()) => format!("Ok(include_bytes!({library:?}))"),
        Err(reason) => {
            println!("cargo::warning=waits until a wall clock time will not follow node clocks: {reason}");
            format!("Err({reason:?})")
        }
    };
    fs::write(out.join("absolute_waits.in"), built).expect("cargo's folder can be written to");
}

/// Compiles the library to `library`, or returns why that failed.
fn compile(library: &Path) -> Result<(), String> {
    let target = env::var("TARGET").expect("cargo names the target");
    if target != "x86_64-unknown-linux-gnu" {
        return Err(format!("the library for it is not supported on {target}"));
    }
    let compiler = env::var_os("RUSTC").expect("cargo names the compiler");
    let mut command = Command::new(compiler);
    command.args(["--crate-type", "cdylib", "--crate-name", "duress_absolute_waits", "--edition", "2024"]);
    command.args(["--target", &target, "-C", "panic=abort", "-C", "opt-level=2", "-C", "strip=symbols"]);
    // A thread that is cancelled while it waits is unwound through the library's frames.
    command.args(["-C", "force-unwind-tables=yes"]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    let output = command.arg("-o").arg(library).arg(SOURCE).output();
    let output = output.map_err(|error| format!("its library was not built: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    // A file that is never there: the next build tries again, should the machine have been mended.
    println!("cargo::rerun-if-changed={}", library.with_extension("missing").display());
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| line.starts_with("error")).unwrap_or("no error was printed");
    Err(format!("its library was not built: {first}"))
}
