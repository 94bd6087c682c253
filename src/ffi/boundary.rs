//! The wall between C and the crate: what every fallible function goes through.

use super::refusal::Refusal;
use super::status::{dynorm_status, keep};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`, and says how it went in C's terms. A panic becomes a status.
#[inline(always)]
pub(super) fn guard(body: impl FnOnce() -> Result<(), Refusal>) -> dynorm_status {
    catch(|| status_of(body()))
}

/// How it went, in C's terms.
#[inline(always)]
pub(super) fn status_of(result: Result<(), Refusal>) -> dynorm_status {
    match result {
        Ok(()) => dynorm_status::DYNORM_OK,
        Err(refusal) => report(&refusal),
    }
}

/// Runs `body`, which says how it went; of a panic, this does.
#[inline(always)]
pub(super) fn catch(body: impl FnOnce() -> dynorm_status) -> dynorm_status {
    // A body has nothing that a panic could leave half done, but the caller's output.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(status) => status,
        Err(payload) => report_panic(payload),
    }
}

#[cold]
fn report_panic(payload: Box<dyn Any + Send>) -> dynorm_status {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    // Dropping it might panic again.
    core::mem::forget(payload);
    report(&Refusal::Panic { message })
}

#[cold]
fn report(refusal: &Refusal) -> dynorm_status {
    keep(refusal);
    refusal.status()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dynorm_status::*;

    #[test]
    fn a_panic_is_a_status() {
        assert_eq!(guard(|| Ok(())), DYNORM_OK);
        assert_eq!(guard(|| Err(Refusal::Contradiction)), DYNORM_ERROR_VALUE);
        assert_eq!(guard(|| panic!("one of {}", "the test's")), DYNORM_ERROR_INTERNAL);
        assert_eq!(guard(|| std::panic::panic_any(1)), DYNORM_ERROR_INTERNAL);
    }
}
