//! Arguments of `kms version`.

use clap::{Args, Subcommand};

use super::Reviewed;

#[derive(Subcommand, Debug)]
pub enum VersionCommand {
    /// Disable versions: they decrypt nothing until they are enabled
    Disable(VersionsReviewed),
    /// Enable Disabled versions: they decrypt again
    Enable(VersionNames),
    /// Schedule Disabled versions for deletion, after a waiting period
    Delete(VersionDelete),
    /// Cancel the deletion of versions, which become Disabled
    Undelete(VersionNames),
}

#[derive(Args, Debug)]
pub struct VersionNames {
    /// Key id or alias; `cards` means alias/cards
    pub key: String,
    /// Numbers or ids of versions, as in `kms key versions`
    #[arg(required = true, value_name = "VERSION")]
    pub versions: Vec<String>,
}

#[derive(Args, Debug)]
pub struct VersionsReviewed {
    #[command(flatten)]
    pub names: VersionNames,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
pub struct VersionDelete {
    #[command(flatten)]
    pub names: VersionNames,
    /// Waiting period in days, 7 to 366
    #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(i32).range(7..=366))]
    pub days: i32,
    #[command(flatten)]
    pub reviewed: Reviewed,
}
