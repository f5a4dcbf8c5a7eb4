// Package request reads the requests that people write for `edict explain` and
// `edict repl`, in YAML or JSON: an entry {principal, resource, actions,
// auxData}, or a CheckResources request of Cerbos with several resources.
//
// What always holds here:
//
//  1. Whoever reads a request gets either requests or diagnostics, never both
//     and never neither.
//  2. A request that is not partial names a principal with roles, a kind of
//     resource and an action.
//  3. A token is never taken for claims: it is given to be verified, or it is
//     a diagnostic.
//  4. Every diagnostic has a place and a code.
package request
