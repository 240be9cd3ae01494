//! The snapshot format, version 1: a version byte, the state as one update, then the payloads that wait, each behind its
//! length as eight bytes, lowest first.

use partita_core::CrdtError;

const VERSION: u8 = 1;

pub(crate) fn write(state: &[u8], held: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for piece in std::iter::once(&state).chain(held) {
        bytes.extend((piece.len() as u64).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

pub(crate) fn read(bytes: &[u8]) -> Result<(&[u8], Vec<&[u8]>), CrdtError> {
    let Some((&VERSION, mut rest)) = bytes.split_first() else {
        return Err(CrdtError::Malformed("unknown version of a snapshot"));
    };
    let state = piece(&mut rest)?;
    let mut held = Vec::new();
    while !rest.is_empty() {
        held.push(piece(&mut rest)?);
    }
    Ok((state, held))
}

fn piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CrdtError> {
    let truncated = CrdtError::Malformed("truncated snapshot");
    let Some((length, after)) = rest.split_first_chunk() else {
        return Err(truncated);
    };
    match usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| after.split_at_checked(length)) {
        Some((piece, after)) => {
            *rest = after;
            Ok(piece)
        }
        None => Err(truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What checkpoints hold, and old entries are pruned for. When this fails: raise `VERSION` and go on reading the old
    /// (`docs/formats.md`).
    #[test]
    fn the_bytes_of_version_1_stay_what_they_are() {
        let golden = [&[1][..], &[5, 0, 0, 0, 0, 0, 0, 0], b"state", &[4, 0, 0, 0, 0, 0, 0, 0], b"held"].concat();
        assert_eq!(write(b"state", &[b"held"]), golden, "an encoding changed");
        assert_eq!(read(&golden), Ok((&b"state"[..], vec![&b"held"[..]])));
    }

    #[test]
    fn a_snapshot_of_a_later_version_is_refused_by_name() {
        let later = [&[2][..], &[0; 8]].concat();
        assert_eq!(read(&later), Err(CrdtError::Malformed("unknown version of a snapshot")));
    }
}
