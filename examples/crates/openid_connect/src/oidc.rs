//! The provider: its URLs for the browser, and its tokens. `openidconnect` does all cryptography.

use std::error::Error;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndSessionUrl, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IssuerUrl, JsonWebTokenType, LogoutRequest, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, TokenResponse,
    core::{CoreAuthenticationFlow, CoreClient, CoreIdToken},
    reqwest,
    url::Url,
};
use serde::{Deserialize, Serialize};

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A login in progress at the provider.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pending {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

/// The claims of a verified token.
#[derive(Deserialize)]
pub(crate) struct Claims {
    /// The user.
    pub(crate) sub: String,
    /// The id of the provider's session.
    pub(crate) sid: Option<String>,
    /// When the provider's session ends, in seconds since 1970. Okta and others send it (IPSIE).
    pub(crate) session_expiry: Option<i64>,
    /// How the user authenticated (RFC 8176).
    #[serde(default)]
    pub(crate) amr: Vec<String>,
    /// Only in logout tokens.
    events: Option<serde_json::Value>,
}

impl Claims {
    /// `openidconnect` has types for the standard claims only, so the payload is read once more.
    fn of_verified(token: &CoreIdToken) -> Result<Self, Box<dyn Error>> {
        let token = token.to_string();
        let payload = token.split('.').nth(1).ok_or("a token has three parts")?;
        Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
    }
}

pub(crate) struct Provider {
    client: Client,
    http: reqwest::Client,
    end_session: Option<EndSessionUrl>,
    after_logout: PostLogoutRedirectUrl,
}

impl Provider {
    /// Fetches the provider's endpoints and keys. Providers rotate their keys, so a long-running
    /// server fetches them again every few hours.
    pub(crate) async fn discover(
        issuer: &str,
        client_id: &str,
        client_secret: &str,
        callback: String,
        after_logout: String,
    ) -> Result<Self, Box<dyn Error>> {
        // A provider must not be able to redirect this server's requests.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let issuer = IssuerUrl::new(issuer.to_owned())?;
        let metadata = ProviderMetadataWithLogout::discover_async(issuer, &http).await?;
        let end_session = metadata.additional_metadata().end_session_endpoint.clone();
        let (id, secret) = (ClientId::new(client_id.to_owned()), ClientSecret::new(client_secret.to_owned()));
        let client = Client::from_provider_metadata(metadata, id, Some(secret))
            .set_redirect_uri(RedirectUrl::new(callback)?);
        Ok(Self { client, http, end_session, after_logout: PostLogoutRedirectUrl::new(after_logout)? })
    }

    /// Begins a login. The browser goes to the URL, and comes back with the `state`.
    pub(crate) fn begin(&self) -> (Url, CsrfToken, Pending) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let request = self.client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        (url, state, Pending { nonce, verifier })
    }

    /// Finishes a login: exchanges the code, and verifies the ID token.
    pub(crate) async fn finish(
        &self,
        pending: Pending,
        code: String,
    ) -> Result<(Claims, CoreIdToken), Box<dyn Error>> {
        let request = self.client.exchange_code(AuthorizationCode::new(code))?;
        let tokens = request.set_pkce_verifier(pending.verifier).request_async(&self.http).await?;
        let id_token = tokens.id_token().ok_or("the provider sent no ID token")?;
        // Signature, issuer, audience, expiry and nonce.
        id_token.claims(&self.client.id_token_verifier(), &pending.nonce)?;
        Ok((Claims::of_verified(id_token)?, id_token.clone()))
    }

    /// Where the browser ends the session at the provider (OpenID Connect RP-Initiated Logout 1.0).
    pub(crate) fn logout_url(&self, id_token: &CoreIdToken) -> String {
        let Some(end_session) = self.end_session.clone() else { return self.after_logout.to_string() };
        LogoutRequest::from(end_session)
            .set_id_token_hint(id_token)
            .set_post_logout_redirect_uri(self.after_logout.clone())
            .http_get_url()
            .into()
    }

    /// Verifies a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6). It is signed
    /// like an ID token, for the same audience. It names the event and has no nonce, so that
    /// neither passes for the other.
    pub(crate) fn verify_logout(&self, token: &str) -> Result<Claims, Box<dyn Error>> {
        const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
        let token: CoreIdToken = token.parse()?;
        let types = ["JWT", "logout+jwt"].map(|name| JsonWebTokenType::new(name.to_owned()).normalize());
        let verifier = self.client.id_token_verifier().set_allowed_jose_types(types.into_iter().flatten());
        let no_nonce = |nonce: Option<&Nonce>| match nonce {
            None => Ok(()),
            Some(_) => Err("a logout token has no nonce".to_owned()),
        };
        token.claims(&verifier, no_nonce)?;
        let claims = Claims::of_verified(&token)?;
        match claims.events.as_ref().and_then(|events| events.get(LOGOUT)) {
            Some(event) if event.is_object() => Ok(claims),
            _ => Err("it is not about a logout".into()),
        }
    }
}
