// Package manifests holds the Kubernetes objects beside it against the types and
// schemas that Kubernetes, Istio and Envoy Gateway publish, and against each
// other. It is a module of its own, so that Edict does not depend on them.
//
// What always holds here:
//
//  1. Every object is decoded into its own type, and a field that the type does
//     not have fails, at every depth, Envoy's own messages included.
//  2. Every object of a custom resource also satisfies the schema of its
//     definition: required fields, ranges, patterns and values.
//  3. What an object names is there: labels, ports, services, volumes.
package manifests
