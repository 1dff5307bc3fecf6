//! The other side of the control socket: what `leveret snapshot` does.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Outcome, socket_path};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Has the broker that runs with the data directory `data_dir` copy it to `target`, and waits for it. The text says
/// what was copied, or in one line why it was not.
pub fn snapshot(data_dir: &Path, target: &Path) -> Outcome {
    let target =
        std::path::absolute(target).map_err(|error| format!("cannot tell where {} is: {error}", target.display()))?;
    let path = target.as_os_str().as_bytes();
    if path.contains(&b'\n') {
        return Err(format!("{:?}: a name with a line feed is not possible here", target.display().to_string()));
    }
    let broken = |error: std::io::Error| {
        format!("the connection to the broker of the data directory {} broke: {error}", data_dir.display())
    };
    let mut stream = connect(data_dir)?;
    stream.write_all(&[b"snapshot ", path, b"\n"].concat()).map_err(broken)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(broken)?;
    match answer.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
        Some(("ok", text)) => Ok(text.into()),
        Some(("error", text)) => Err(text.into()),
        _ => Err(broken(ErrorKind::UnexpectedEof.into())),
    }
}

fn connect(data_dir: &Path) -> Result<UnixStream, String> {
    let connected = socket_path(data_dir).and_then(|(path, _directory)| UnixStream::connect(path));
    connected.map_err(|error| {
        let data_dir = data_dir.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                format!("no broker runs with the data directory {data_dir}")
            }
            _ => format!("cannot reach the broker of the data directory {data_dir}: {error}"),
        }
    })
}
