//! A bounded pool of buffers: memory that peers can make this process use, however many they are.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which room is counted.
const GRAIN: usize = 1024;

/// Buffers from here on are kept for reuse; smaller ones cost the allocator nothing.
const KEPT_FROM: usize = 64 * 1024;

/// Buffers that wait for reuse at the most. They come on top of the room that is in use.
const KEPT: usize = 8;

/// Room for buffers. Clones share it.
#[derive(Clone)]
pub struct Pool {
    room: Arc<Semaphore>,
    grains: usize,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer; its room is free again when it is dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// With room for this many bytes.
    pub fn new(bytes: usize) -> Self {
        let grains = bytes.div_ceil(GRAIN);
        Pool { room: Arc::new(Semaphore::new(grains)), grains, kept: Arc::default() }
    }

    /// An empty buffer with room for `length` bytes; waits until there is.
    pub async fn take(&self, length: usize) -> Buffer {
        let room = self.reserve(length).await;
        let mut bytes = Vec::new();
        if length >= KEPT_FROM {
            // One that is larger than asked for would take more room than it was given.
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
            bytes = kept.filter(|kept| kept.capacity() <= length).unwrap_or_default();
        }
        bytes.reserve_exact(length);
        Buffer { bytes, kept: self.kept.clone(), _room: room }
    }

    /// Room without a buffer, for something of this size that is kept elsewhere.
    pub async fn reserve(&self, length: usize) -> OwnedSemaphorePermit {
        let grains = length.div_ceil(GRAIN).clamp(1, self.grains) as u32;
        self.room.clone().acquire_many_owned(grains).await.expect("the pool's semaphore is never closed")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() >= KEPT_FROM {
            bytes.clear();
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                kept.push(bytes);
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
