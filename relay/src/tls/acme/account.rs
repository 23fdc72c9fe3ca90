//! The account at the authority: made once, kept in the state folder.

use std::{fs, io, sync::Arc};

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use rustls::crypto::{CryptoProvider, ring};
use serde::{Deserialize, Serialize};
use turnpike_config::{Acme, ExternalAccount};

use super::{AcmeError, authority, write};

const FILE: &str = "account.json";

/// With and without padding: authorities give out both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Serialize, Deserialize)]
struct Kept {
    /// An account is good at the authority that it was made at.
    directory: String,
    credentials: AccountCredentials,
}

/// The account of before, or a new one.
pub(super) async fn open(config: &Acme) -> Result<Account, AcmeError> {
    let builder = || {
        // The HTTP client takes the process's provider.
        if CryptoProvider::get_default().is_none() {
            // Another thread may have been quicker.
            let _: Result<(), Arc<CryptoProvider>> = ring::default_provider().install_default();
        }
        Account::builder().map_err(authority("no HTTPS client can be made"))
    };
    if let Some(credentials) = kept(config)? {
        let opened = builder()?.from_credentials(credentials).await;
        return opened.map_err(authority("the authority does not answer"));
    }
    let contact = config.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let account =
        NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = config.external_account.as_ref().map(external_key).transpose()?;
    let made = builder()?.create(&account, config.directory.clone(), external.as_ref()).await;
    let (account, credentials) = made.map_err(authority("the authority makes no account"))?;
    let kept = Kept { directory: config.directory.clone(), credentials };
    let text = serde_json::to_string(&kept).expect("credentials are plain values");
    write(&config.folder, FILE, &text).map_err(file("the account cannot be kept"))?;
    Ok(account)
}

fn kept(config: &Acme) -> Result<Option<AccountCredentials>, AcmeError> {
    let text = match fs::read(config.folder.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file("the account cannot be read")(source)),
    };
    // One that cannot be read, or of another authority, makes way for a new one.
    let kept: Option<Kept> = serde_json::from_slice(&text).ok();
    Ok(kept.filter(|kept| kept.directory == config.directory).map(|kept| kept.credentials))
}

fn external_key(external: &ExternalAccount) -> Result<ExternalAccountKey, AcmeError> {
    let text =
        fs::read_to_string(&external.key_file).map_err(file("tls.acme_eab_key_file cannot be read"))?;
    let key = BASE64.decode(text.trim());
    let key = key.map_err(|_| AcmeError::ExternalKey { path: external.key_file.display().to_string() })?;
    Ok(ExternalAccountKey::new(external.key_id.clone(), &key))
}

fn file(what: &'static str) -> impl Fn(io::Error) -> AcmeError {
    move |source| AcmeError::File { what, source }
}
