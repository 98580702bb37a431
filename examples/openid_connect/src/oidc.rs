//! The provider, as `openidconnect` sees it with two claims more.

use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields,
    EndSessionUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenClaims, IdTokenFields, IssuerUrl,
    JsonWebTokenType, LogoutRequest, Nonce, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl,
    ProviderMetadataWithLogout, RedirectUrl, StandardErrorResponse, StandardTokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim,
        CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
        CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
    url::Url,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the tokens say besides the claims that all have.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Claims {
    /// The provider's id of its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    /// When the provider's session ends, in seconds since 1970, where the provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_expiry: Option<i64>,
    /// Only in logout tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Value>,
}

impl AdditionalClaims for Claims {}

pub(crate) type IdToken = openidconnect::IdToken<
    Claims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type Fields = IdTokenFields<
    Claims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// `CoreClient` with our claims.
pub(crate) type Client = openidconnect::Client<
    Claims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

pub(crate) struct Provider {
    client: Client,
    id: ClientId,
    end_session: Option<EndSessionUrl>,
    after_logout: PostLogoutRedirectUrl,
}

impl Provider {
    /// Asks the provider for its endpoints and keys. A server that runs for long asks again when it
    /// meets a key that it does not know.
    pub(crate) async fn discover(
        issuer: &str,
        id: &str,
        secret: &str,
        here: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let issuer = IssuerUrl::new(issuer.to_owned())?;
        let metadata = ProviderMetadataWithLogout::discover_async(issuer, &crate::http::send).await?;
        let id = ClientId::new(id.to_owned());
        Ok(Self {
            end_session: metadata.additional_metadata().end_session_endpoint.clone(),
            after_logout: PostLogoutRedirectUrl::new(format!("{here}/"))?,
            client: Client::from_provider_metadata(
                metadata,
                id.clone(),
                Some(ClientSecret::new(secret.to_owned())),
            )
            .set_redirect_uri(RedirectUrl::new(format!("{here}/callback"))?),
            id,
        })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn login_url(&self) -> (Url, CsrfToken, Nonce, PkceCodeVerifier) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let request = self.client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        (url, state, nonce, verifier)
    }

    /// Where a logout goes on (OpenID Connect RP-Initiated Logout 1.0): home, if the provider has no
    /// logout.
    pub(crate) fn logout_url(&self, id_token: &IdToken) -> String {
        let Some(end_session) = self.end_session.clone() else { return "/".to_owned() };
        LogoutRequest::from(end_session)
            .set_id_token_hint(id_token)
            .set_client_id(self.id.clone())
            .set_post_logout_redirect_uri(self.after_logout.clone())
            .http_get_url()
            .into()
    }

    /// Verifies a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6). It is signed
    /// like an ID token, for the same audience. But it names the event, and has no nonce, so that
    /// neither passes for the other. Providers that name a session without its user are not handled.
    pub(crate) fn verify_logout(
        &self,
        token: &str,
    ) -> Result<IdTokenClaims<Claims, CoreGenderClaim>, ClaimsVerificationError> {
        let other = |why: &str| ClaimsVerificationError::Other(why.to_owned());
        let token: IdToken = token.parse().map_err(|_| other("it is not a token"))?;
        let types = ["JWT", "logout+jwt"].map(|name| JsonWebTokenType::new(name.to_owned()).normalize());
        let verifier = self.client.id_token_verifier().set_allowed_jose_types(types.into_iter().flatten());
        let no_nonce = |nonce: Option<&Nonce>| match nonce {
            None => Ok(()),
            Some(_) => Err("a logout token has no nonce".to_owned()),
        };
        let claims = token.into_claims(&verifier, no_nonce)?;
        let events = claims.additional_claims().events.as_ref();
        if events.and_then(|events| events.get(LOGOUT)).is_none_or(|event| !event.is_object()) {
            return Err(other("it is not about a logout"));
        }
        Ok(claims)
    }
}
