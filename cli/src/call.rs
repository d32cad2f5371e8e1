//! `kms call`: every action of the library by name, JSON in and JSON out.

use zeroize::Zeroizing;

use crate::args::Call;
use crate::exit::{Failure, Result};
use crate::output;
use crate::session::Session;

/// Parameters that may hold a secret: every user of the machine sees arguments.
const SECRETS: [&str; 5] = ["Plaintext", "KeyMaterial", "RootKey", "RootPassphrase", "Records"];

pub fn run(session: &Session, args: &Call) -> Result<()> {
    let request = match args.request.as_str() {
        "-" => {
            let bytes = crate::stream::Input::open(None)?.bytes(1 << 31)?;
            Zeroizing::new(
                std::str::from_utf8(&bytes).map_err(|_| Failure::usage("the request is not UTF-8"))?.to_owned(),
            )
        }
        text => {
            let given: serde_json::Value = serde_json::from_str(text)
                .map_err(|error| Failure::usage(format!("the request is no JSON object: {error}")))?;
            if let Some(name) = SECRETS.iter().find(|name| given.get(name).is_some()) {
                return Err(Failure::usage(format!(
                    "{name} may be secret, and every user of the machine sees arguments"
                ))
                .next(format!("kms call {} - <request.json", args.action)));
            }
            Zeroizing::new(text.to_owned())
        }
    };
    match session.keystore.call(&args.action, &request) {
        Ok(response) => {
            let response = Zeroizing::new(response + "\n");
            output::print(&response)
        }
        Err(failed) => {
            output::print(&format!("{}\n", failed.body))?;
            Err(failed.error.into())
        }
    }
}
