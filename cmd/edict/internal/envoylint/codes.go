package envoylint

import "edict/engine/diag"

// What can be wrong with the proxy as a whole.
const (
	// CodeUnknownDocument is for a document that is of no known kind.
	CodeUnknownDocument diag.Code = "envoy-unknown-document"

	// CodeNoFilter is for a configuration in which nothing asks Edict.
	CodeNoFilter diag.Code = "envoy-no-filter"

	// CodeBypass is for a way in without a check to a cluster that is guarded
	// elsewhere.
	CodeBypass diag.Code = "envoy-bypass"

	// CodeUnguarded warns of another way in without a check.
	CodeUnguarded diag.Code = "envoy-unguarded-listener"

	// CodeUpgradeUnguarded is for upgrades with filters of their own that do
	// not ask Edict.
	CodeUpgradeUnguarded diag.Code = "envoy-upgrade-unguarded"
)

// What can be wrong with the connection manager and the order of its filters.
const (
	// CodeNormalizePath is for paths that stay as clients spell them.
	CodeNormalizePath diag.Code = "envoy-normalize-path"

	// CodeMergeSlashes warns of double slashes that stay.
	CodeMergeSlashes diag.Code = "envoy-merge-slashes"

	// CodeEscapedSlashes is for %2f and %5c that stay.
	CodeEscapedSlashes diag.Code = "envoy-escaped-slashes"

	// CodeUnderscores warns of header names with underscores that pass.
	CodeUnderscores diag.Code = "envoy-underscores"

	// CodeHostPort warns of a port that stays in the host.
	CodeHostPort diag.Code = "envoy-host-port"

	// CodeHostDot warns of a dot that stays behind the host.
	CodeHostDot diag.Code = "envoy-host-dot"

	// CodeForwardedCert is for client certificates that clients can claim.
	CodeForwardedCert diag.Code = "envoy-forwarded-cert"

	// CodeReservedHeaders warns of unchecked routes on which a client's
	// x-edict-* headers reach the backend.
	CodeReservedHeaders diag.Code = "envoy-reserved-headers"

	// CodeFilterOrder is for filters in an order in which they do not work.
	CodeFilterOrder diag.Code = "envoy-filter-order"

	// CodeChangesAfter warns of a filter that can change what was judged.
	CodeChangesAfter diag.Code = "envoy-changes-after-check"

	// CodeCORSOrder warns of cors behind ext_authz.
	CodeCORSOrder diag.Code = "envoy-cors-order"

	// CodeClientIdentity is for a namespace of identity that clients write to.
	CodeClientIdentity diag.Code = "envoy-client-identity"

	// CodeClientMetadata warns of another namespace that clients write to.
	CodeClientMetadata diag.Code = "envoy-client-metadata"

	// CodeJWTUnverified is for claims of tokens that nobody verified.
	CodeJWTUnverified diag.Code = "envoy-jwt-unverified"

	// CodeClaimHeaders warns of claims in headers that clients can send where
	// the token is missing.
	CodeClaimHeaders diag.Code = "envoy-claim-headers"

	// CodeTokenRemoved is for tokens that are gone when Edict or jwt_authn is to
	// verify them.
	CodeTokenRemoved diag.Code = "envoy-token-removed"

	// CodeMetadataMissing is for metadata that Edict reads and is not given.
	CodeMetadataMissing diag.Code = "envoy-metadata-missing"

	// CodeMetadataKey is for claims that are written under another key.
	CodeMetadataKey diag.Code = "envoy-metadata-key"
)

// What can be wrong with the ext_authz filter.
const (
	// CodeFailOpen is for a filter that passes what was not judged.
	CodeFailOpen diag.Code = "envoy-fail-open"

	// CodeStatusOnError warns of outages that look like denials.
	CodeStatusOnError diag.Code = "envoy-status-on-error"

	// CodeTimeoutUnset warns of a check without a limit of its own.
	CodeTimeoutUnset diag.Code = "envoy-timeout-unset"

	// CodeTimeoutLong is for a check that may take too long.
	CodeTimeoutLong diag.Code = "envoy-timeout-long"

	// CodeRawHeaders warns of headers that are not handed on as received.
	CodeRawHeaders diag.Code = "envoy-raw-headers"

	// CodeValidateMutations warns of mutations that are not validated.
	CodeValidateMutations diag.Code = "envoy-validate-mutations"

	// CodeMutationRules warns of mutations that are not limited.
	CodeMutationRules diag.Code = "envoy-mutation-rules"

	// CodeMutationsRefused is for changes that Edict makes and Envoy does not.
	CodeMutationsRefused diag.Code = "envoy-mutations-refused"

	// CodePartialEnforcement is for a filter that is off for some requests.
	CodePartialEnforcement diag.Code = "envoy-partial-enforcement"

	// CodeRuntimeSwitch warns of a runtime key that turns the filter off.
	CodeRuntimeSwitch diag.Code = "envoy-runtime-switch"

	// CodeShadowOnly is for an instance that watches where none enforces.
	CodeShadowOnly diag.Code = "envoy-shadow-only"

	// CodeShadowMutates warns of an instance that watches and changes requests.
	CodeShadowMutates diag.Code = "envoy-shadow-mutates"

	// CodePartialBody warns of bodies that are handed on in part.
	CodePartialBody diag.Code = "envoy-partial-body"

	// CodePackAsBytes warns of bodies that are handed on as text.
	CodePackAsBytes diag.Code = "envoy-pack-as-bytes"

	// CodeBodyMissing is for routes that read a body which is not handed on.
	CodeBodyMissing diag.Code = "envoy-body-missing"

	// CodeBodyLimit is for a limit that Edict is told wrongly.
	CodeBodyLimit diag.Code = "envoy-body-limit"

	// CodeBodyStreaming is for a body that is waited for and never ends.
	CodeBodyStreaming diag.Code = "envoy-body-streaming"

	// CodeFieldMissing is for a field of the check that Edict reads and is not
	// given.
	CodeFieldMissing diag.Code = "envoy-field-missing"

	// CodeClearRouteCache warns of routes that change after the check.
	CodeClearRouteCache diag.Code = "envoy-clear-route-cache"

	// CodeHeadersHidden warns of headers that Edict is not shown.
	CodeHeadersHidden diag.Code = "envoy-headers-hidden"

	// CodeHTTPHeaders warns of headers that the HTTP service is not sent.
	CodeHTTPHeaders diag.Code = "envoy-http-headers"

	// CodeHTTPUpstream is for identity that does not reach the backend.
	CodeHTTPUpstream diag.Code = "envoy-http-upstream-headers"

	// CodeHTTPClient warns of headers of denials that do not reach the client.
	CodeHTTPClient diag.Code = "envoy-http-client-headers"

	// CodeHTTPNoMetadata is for identity from metadata over HTTP.
	CodeHTTPNoMetadata diag.Code = "envoy-http-no-metadata"
)

// What can be wrong with routes.
const (
	// CodeAppendDefault warns of a header that is added by default beside the
	// client's.
	CodeAppendDefault diag.Code = "envoy-append-default"

	// CodeAppendIdentity is for identity that is added beside the client's.
	CodeAppendIdentity diag.Code = "envoy-append-identity"

	// CodeFilterDisabled is for paths that are not judged.
	CodeFilterDisabled diag.Code = "envoy-filter-disabled"

	// CodeSubtreeDisabled warns of a part of the tree that is not judged.
	CodeSubtreeDisabled diag.Code = "envoy-subtree-disabled"

	// CodePerRouteName is for settings of a filter that is not there.
	CodePerRouteName diag.Code = "envoy-per-route-name"

	// CodePlanRewritten warns of a path or host that changes after a plan was
	// made for it.
	CodePlanRewritten diag.Code = "envoy-plan-rewritten"
)

// What can be wrong with the cluster of Edict.
const (
	// CodeClusterMissing is for a cluster that is not there.
	CodeClusterMissing diag.Code = "envoy-cluster-missing"

	// CodeClusterProtocol is for a cluster that gRPC can't be spoken to.
	CodeClusterProtocol diag.Code = "envoy-cluster-protocol"

	// CodePlaintext warns of checks over the network in plain text.
	CodePlaintext diag.Code = "envoy-plaintext"

	// CodePanicThreshold warns of unhealthy hosts that are asked.
	CodePanicThreshold diag.Code = "envoy-panic-threshold"

	// CodeTLSUnverified is for a certificate that is not verified.
	CodeTLSUnverified diag.Code = "envoy-tls-unverified"

	// CodeTLSAnyName warns of a certificate whose name is not looked at.
	CodeTLSAnyName diag.Code = "envoy-tls-any-name"
)

// What can be wrong with objects of Istio.
const (
	// CodeIstioUnknownProvider is for a provider that is not defined.
	CodeIstioUnknownProvider diag.Code = "istio-unknown-provider"

	// CodeIstioNoRules is for a policy that is for no request.
	CodeIstioNoRules diag.Code = "istio-no-rules"

	// CodeIstioNarrowRule warns of requests that no rule is for.
	CodeIstioNarrowRule diag.Code = "istio-narrow-rule"

	// CodeIstioAuthCondition is for a condition on what is not known yet.
	CodeIstioAuthCondition diag.Code = "istio-auth-condition"

	// CodeIstioDryRun warns of an annotation that does nothing.
	CodeIstioDryRun diag.Code = "istio-dry-run"

	// CodeIstioTwoProviders is for two providers on one workload.
	CodeIstioTwoProviders diag.Code = "istio-two-providers"

	// CodeIstioRecursion is for a policy on Edict's own workload.
	CodeIstioRecursion diag.Code = "istio-recursion"

	// CodeIstioMTLS warns of peers without a certificate.
	CodeIstioMTLS diag.Code = "istio-mtls"

	// CodeIstioHeadless is for a service without an address of its own.
	CodeIstioHeadless diag.Code = "istio-headless-service"

	// CodeIstioPortName is for a port whose protocol Istio can't tell.
	CodeIstioPortName diag.Code = "istio-port-name"

	// CodeIstioLoopback is for a provider on loopback.
	CodeIstioLoopback diag.Code = "istio-loopback-provider"
)

// CodeGatewayOverridden is for a policy that takes the check away from a route.
const CodeGatewayOverridden diag.Code = "gateway-overridden-policy"

// isWarning tells whether a code is of a warning.
func isWarning(code diag.Code) bool {
	switch code {
	case CodeUnguarded, CodeMergeSlashes, CodeUnderscores, CodeHostPort, CodeHostDot, CodeReservedHeaders, CodeChangesAfter,
		CodeCORSOrder, CodeClientMetadata, CodeClaimHeaders, CodeStatusOnError, CodeTimeoutUnset, CodeRawHeaders, CodeValidateMutations,
		CodeMutationRules, CodeRuntimeSwitch, CodeShadowMutates, CodePartialBody, CodePackAsBytes, CodeClearRouteCache, CodeHeadersHidden,
		CodeHTTPHeaders, CodeHTTPClient, CodeAppendDefault, CodeSubtreeDisabled, CodePlanRewritten, CodePlaintext, CodePanicThreshold, CodeTLSAnyName,
		CodeIstioNarrowRule, CodeIstioDryRun, CodeIstioMTLS:
		return true
	}
	return false
}
