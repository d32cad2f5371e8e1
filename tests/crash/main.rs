//! No failure of the process or the disk loses data: each operation is cut off at each of its writes.
//!
//! All tests are ignored by default: `cargo test --test crash -- --include-ignored`. `KMS_FULL=1` tries every
//! second operation, otherwise each sixth. `KMS_LONG=1` tries all and makes the runs longer, a greater number longer
//! still.

mod calls;
mod disk;
mod errors;
mod files;
mod full;
mod killed;
mod left;
mod power;
#[path = "../process/role.rs"]
mod role;
mod roles;
mod scene;
mod together;
mod upgrade;
