//! The content of a file as pages that share memory.

use std::{
    fmt,
    io::{self, ErrorKind},
    ops::Range,
    sync::Arc,
};

const PAGE: usize = 4096;

/// Pages of nothing but zeros take no memory.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: u64,
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Pages {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        pages.set_len(bytes.len() as u64);
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                pages.put(number, 0, page);
            }
        }
        pages
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What is cut off is gone: growing again shows zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        self.pages.resize((len as usize).div_ceil(PAGE), None);
        let used = len as usize % PAGE;
        if len < self.len
            && used > 0
            && let Some(Some(last)) = self.pages.last_mut()
        {
            Arc::make_mut(last)[used..].fill(0);
        }
        self.len = len;
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.within(offset, out.len()).then_some(()).ok_or(ErrorKind::UnexpectedEof)?;
        for (page, inside, part) in parts(offset, out.len()) {
            match &self.pages[page] {
                Some(page) => out[part.clone()].copy_from_slice(&page[inside..inside + part.len()]),
                None => out[part].fill(0),
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.within(offset, data.len()).then_some(()).ok_or(ErrorKind::UnexpectedEof)?;
        for (page, inside, part) in parts(offset, data.len()) {
            self.put(page, inside, &data[part]);
        }
        Ok(())
    }

    /// Writes what lies within the file; what does not is lost.
    pub(super) fn write_within(&mut self, offset: u64, data: &[u8]) {
        let room = self.len.saturating_sub(offset).min(data.len() as u64) as usize;
        for (page, inside, part) in parts(offset, room) {
            self.put(page, inside, &data[part]);
        }
    }

    /// The pages that a write touches.
    pub(super) fn touched(offset: u64, len: usize) -> Range<usize> {
        let offset = offset as usize;
        if len == 0 { 0..0 } else { offset / PAGE..(offset + len).div_ceil(PAGE) }
    }

    /// Takes a page from another content, if both are so long.
    pub(super) fn share(&mut self, page: usize, from: &Self) {
        if let (Some(here), Some(there)) = (self.pages.get_mut(page), from.pages.get(page)) {
            here.clone_from(there);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pages.len() * PAGE);
        for page in &self.pages {
            bytes.extend_from_slice(page.as_deref().unwrap_or(&[0; PAGE]));
        }
        bytes.truncate(self.len as usize);
        bytes
    }

    fn within(&self, offset: u64, len: usize) -> bool {
        offset.checked_add(len as u64).is_some_and(|end| end <= self.len)
    }

    fn put(&mut self, page: usize, inside: usize, data: &[u8]) {
        let page = &mut self.pages[page];
        match data.try_into() {
            // Nothing of the old page is left: no need to copy it first.
            Ok(whole) => *page = Some(Arc::new(whole)),
            Err(_) => {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(page)[inside..inside + data.len()].copy_from_slice(data);
            }
        }
    }
}

/// A range of the file, page by page: which page, where in it, and which part of the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let offset = offset as usize;
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let part = done..len.min(done + PAGE - at % PAGE);
        done = part.end;
        (!part.is_empty()).then_some((at / PAGE, at % PAGE, part))
    })
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}
