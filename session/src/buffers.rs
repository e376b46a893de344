//! Buffers that are used again, and room for what peers send: memory that they can make this process use, however
//! many they are.

use std::sync::{Arc, Mutex};

use ferry_store::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which room is counted.
const GRAIN: usize = 1024;

/// Buffers from here on are used again; smaller ones cost the allocator nothing.
const KEPT_FROM: usize = 64 * 1024;

/// Buffers that wait to be used again at the most.
const KEPT: usize = 8;

/// Buffers to be used again. Clones share them.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes; if they came from [`Buffers`], their memory goes back there.
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<Buffers>,
}

impl Buffers {
    /// An empty buffer with room for `length` bytes.
    pub fn take_empty(&self, length: usize) -> Buffer {
        let mut buffer = self.take(length);
        buffer.clear();
        buffer
    }

    /// A buffer with room for `length` bytes. It still holds what it held before: clearing it would mean zeroing it
    /// again for the next read.
    pub fn take(&self, length: usize) -> Buffer {
        if length < KEPT_FROM {
            return Vec::with_capacity(length).into();
        }
        let mut bytes = lock(&self.0).pop().unwrap_or_default();
        bytes.reserve_exact(length.saturating_sub(bytes.len()));
        Buffer { bytes, home: Some(self.clone()) }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer { bytes, home: None }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            let mut kept = lock(&home.0);
            if kept.len() < KEPT {
                kept.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// Room for a number of bytes. Clones share it.
#[derive(Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    grains: usize,
}

/// Some of that room, until it is dropped.
pub struct Permit(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit);

impl Room {
    /// For this many bytes.
    pub fn new(bytes: usize) -> Self {
        let grains = bytes.div_ceil(GRAIN);
        Room { free: Arc::new(Semaphore::new(grains)), grains }
    }

    /// Bytes that there is room for, and those of them that are taken.
    pub fn size_and_taken(&self) -> (usize, usize) {
        let taken = self.grains.saturating_sub(self.free.available_permits());
        (self.grains * GRAIN, taken * GRAIN)
    }

    /// Waits for room for something of this size; what is larger than the whole gets all of it.
    pub async fn take(&self, length: usize) -> Permit {
        let grains = length.div_ceil(GRAIN).clamp(1, self.grains);
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(grains as u32) {
            return Permit(permit);
        }
        // Until there is room for more than this: else each byte that is freed would wake somebody who then waits again.
        let plenty = grains.max(self.grains / 4);
        let acquired = self.free.clone().acquire_many_owned(plenty as u32).await;
        let mut permit = acquired.expect("the semaphore is never closed");
        drop(permit.split(plenty - grains));
        Permit(permit)
    }
}
