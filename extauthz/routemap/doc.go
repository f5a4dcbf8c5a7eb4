// Package routemap holds parsed route maps: which request asks for what, as
// YAML files say it, with the place of every node.
//
// What always holds here:
//
//  1. Plain data. Nothing here compiles expressions or matches requests.
//  2. Every text and every expression knows its position.
//  3. Parse gives a route map or what is wrong with the file, never both; what
//     is wrong with one route does not hide what is wrong with the next.
package routemap
