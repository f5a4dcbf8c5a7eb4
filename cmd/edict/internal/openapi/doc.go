// Package openapi makes route maps from OpenAPI documents, and tells where a
// route map and a document have drifted apart.
//
// What a route needs beyond method and path stands in the document itself,
// under x-edict: at an operation, at a path for all its operations, or at the
// top for the route map. In FastAPI it is given as openapi_extra.
//
// What always holds here:
//
//  1. Every operation becomes a route, is left out by word (exposed: false),
//     or is a diagnostic. Nothing becomes public unless x-edict says so.
//  2. The same document gives the same text.
//  3. What x-edict says of a route is taken as it stands, so that it can say
//     whatever a route map can. What is wrong with it is told at its place in
//     the document.
//  4. Nothing is fetched: a reference leads to a place in the document.
package openapi
