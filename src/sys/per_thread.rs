//! One value for each thread that uses an object, reached without a lock and wiped with the object or the thread.
//!
//! A value is touched by its own thread alone. It is dropped when its thread ends or when the [`PerThread`] is
//! dropped, whichever comes first; dropping needs `&mut`, so no thread can be using it then.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::shield::Shield;
use super::sync::Lock;
use super::{fork, memory};
use crate::error::Result;

static LAST_ID: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MINE: RefCell<Vec<ThreadEntry>> = const { RefCell::new(Vec::new()) };
    /// Whether `MINE` is in use by now. Its first use registers its end, and glibc ends the process where there is no memory
    /// for that.
    static JOINED: Cell<bool> = const { Cell::new(false) };
    /// Id and cell of the object used last. An id is never used again, so only the thread's end makes it wrong.
    static LAST: Cell<(u64, *const ())> = const { Cell::new((0, std::ptr::null())) };
}

#[derive(Debug)]
pub struct PerThread<T: Send + 'static> {
    id: u64,
    cells: Arc<Cells<T>>,
}

type Cells<T> = Lock<Vec<Box<ThreadCell<T>>>>;

#[derive(Debug)]
struct ThreadCell<T> {
    busy: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: only the owning thread touches the contents, until `PerThread` or the thread's end takes the cell out of
// the list under its lock.
unsafe impl<T: Send> Send for ThreadCell<T> {}

/// This thread's cell of one object.
struct ThreadEntry {
    id: u64,
    cell: *const (),
    epoch: u64,
    /// Removes the cell from its object, if that still lives.
    end: Box<dyn RemoveCell>,
}

trait RemoveCell {
    fn end(&self, cell: *const ());
    fn is_dead(&self) -> bool;
}

impl<T> RemoveCell for Weak<Cells<T>> {
    fn end(&self, cell: *const ()) {
        let Some(cells) = self.upgrade() else { return };
        let removed = cells.lock().ok().and_then(|mut list| {
            let index = list.iter().position(|c| std::ptr::from_ref(&**c).cast() == cell)?;
            Some(list.swap_remove(index))
        });
        drop(removed);
    }

    fn is_dead(&self) -> bool {
        self.strong_count() == 0
    }
}

impl Drop for ThreadEntry {
    fn drop(&mut self) {
        LAST.set((0, std::ptr::null()));
        // In a forked child the object is its parent's, and its lock may never be released.
        if self.epoch == fork::epoch() {
            self.end.end(self.cell);
        }
    }
}

impl<T: Default + Send + 'static> PerThread<T> {
    pub fn new() -> Self {
        Self { id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1, cells: Arc::new(Lock::new(Vec::new())) }
    }

    /// Runs `body` on this thread's value. A nested call, or one while the thread ends, gets a separate value that
    /// is dropped right after.
    #[inline]
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        body(self.lease()?.get())
    }

    /// Lends this thread's value, as [`PerThread::with`] does.
    #[inline(always)]
    pub fn lease(&self) -> Result<Lease<'_, T>> {
        let (id, cell) = LAST.get();
        if id == self.id
            // SAFETY: an id is set together with its cell, which is in our list, which lives as long as `self`; it leaves it
            // only at this thread's end.
            && let cell = unsafe { NonNull::new_unchecked(cell.cast_mut().cast::<ThreadCell<T>>()) }
            // SAFETY: as above.
            && !unsafe { cell.as_ref() }.busy.replace(true)
        {
            return Ok(Lease { cell, is_own: false, owner: PhantomData });
        }
        self.lease_slowly()
    }

    #[cold]
    fn lease_slowly(&self) -> Result<Lease<'_, T>> {
        if let Some(cell) = self.find_cell()?.and_then(|cell| NonNull::new(cell.cast_mut()))
            // SAFETY: as in `lease`.
            && !unsafe { cell.as_ref() }.busy.replace(true)
        {
            return Ok(Lease { cell, is_own: false, owner: PhantomData });
        }
        let cell = Box::new(ThreadCell { busy: Cell::new(true), value: UnsafeCell::new(T::default()) });
        Ok(Lease { cell: NonNull::from(Box::leak(cell)), is_own: true, owner: PhantomData })
    }

    #[cold]
    fn find_cell(&self) -> Result<Option<*const ThreadCell<T>>> {
        let found = if JOINED.get() {
            MINE.try_with(|mine| {
                let mine = mine.try_borrow().ok()?;
                mine.iter().find(|entry| entry.id == self.id).map(|entry| entry.cell.cast())
            })
            .ok()
            .flatten()
        } else {
            None
        };
        let found = match found {
            Some(found) => Some(found),
            None => self.join()?,
        };
        let Some(cell): Option<*const ThreadCell<T>> = found else { return Ok(None) };
        LAST.set((self.id, cell.cast()));
        Ok(Some(cell))
    }

    #[cold]
    fn join(&self) -> Result<Option<*const ThreadCell<T>>> {
        let _shield = Shield::raise();
        memory::headroom_of(memory::TRANSACTION)?;
        JOINED.set(true);
        let joined = MINE.try_with(|mine| {
            let mut mine = mine.try_borrow_mut().ok()?;
            let cell = Box::new(ThreadCell { busy: Cell::new(false), value: UnsafeCell::new(T::default()) });
            let address = std::ptr::from_ref(&*cell);
            self.cells.lock().ok()?.push(cell);
            mine.retain(|entry| !entry.end.is_dead());
            let end = Box::new(Arc::downgrade(&self.cells));
            mine.push(ThreadEntry { id: self.id, cell: address.cast(), epoch: fork::epoch(), end });
            Some(address)
        });
        Ok(joined.ok().flatten())
    }
}

impl<T: Send + 'static> Drop for PerThread<T> {
    fn drop(&mut self) {
        let cells = self.cells.lock().map(|mut list| std::mem::take(&mut *list));
        drop(cells);
    }
}

/// A value in use: its thread's, or one of the call's own, which ends with it.
pub struct Lease<'a, T> {
    cell: NonNull<ThreadCell<T>>,
    is_own: bool,
    owner: PhantomData<&'a T>,
}

impl<T> Drop for Lease<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_own {
            self.free();
        } else {
            // SAFETY: the thread's cell lives as long as the call.
            unsafe { self.cell.as_ref() }.busy.set(false);
        }
    }
}

impl<T> Lease<'_, T> {
    #[inline(always)]
    pub fn get(&mut self) -> &mut T {
        // SAFETY: only this thread reaches the cell, which lives as long as the lease, and `busy` keeps a nested call away.
        unsafe { &mut *self.cell.as_ref().value.get() }
    }

    #[cold]
    fn free(&mut self) {
        // SAFETY: from Box::leak, and dropped once.
        drop(unsafe { Box::from_raw(self.cell.as_ptr()) });
    }
}

#[cfg(test)]
mod tests;
