//! What the examples share: what they print, and the files that they write.

use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// As a program ends that a closed pipe stops.
const STOPPED: i32 = 141;

/// As the standard library's, but that whoever has read enough (`| head`) ends the program, and not in a panic.
#[allow(unused_macros, reason = "not every example prints parts of lines")]
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// As the standard library's, on the same terms.
macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) fn print(text: Arguments<'_>) {
    if let Err(error) = std::io::stdout().lock().write_fmt(text) {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: cannot print: {error}");
        }
        std::process::exit(STOPPED);
    }
}

/// Whether these files can be written, before anything takes time. One that is there is left as it is, one that is not is not left behind.
#[allow(dead_code, reason = "not every example writes files")]
pub(crate) fn writable<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), String> {
    for path in paths {
        let is_new = !path.exists();
        OpenOptions::new().append(true).create(true).open(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        if is_new {
            // What cannot be removed can be written.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}
