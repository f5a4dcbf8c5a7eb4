// Package extauthz answers Envoy: it is the server of
// envoy.service.auth.v3.Authorization.
//
//	CheckRequest ─wire─► view ─target─► Target ─routing─► Route
//	                      │                                │
//	                      └─identity─► Principal ─terms────┤
//	                                                       ▼
//	CheckResponse ◄─wire─ outcome ◄─engine.Check─ engine.Request
//
// What always holds here:
//
//  1. A request passes only if the engine allowed every action of every check
//     of its route, if it carries a signed filter of what may be seen, of a route
//     that is planned, or if its route says that it is public. Every other end,
//     a panic and a passed deadline included, is a denial.
//  2. A denial is an answer, never a gRPC error: Envoy may be set to let
//     requests pass when the server fails, and no client may bring that about.
//  3. A request sees one Revision: policies, routes and prepared answers that
//     were loaded together.
//  4. Identity comes from the sources that the configuration names and from
//     nowhere else. The headers that tell the upstream who asks, and what may be
//     seen, are set or removed on every request that passes.
//  5. Without a Revision every request is denied.
package extauthz
