// Package xfcc reads the X-Forwarded-Client-Cert header, in which proxies tell
// of the certificates of their clients:
//
//	By=spiffe://b;Hash=0a…;Subject="CN=a,O=b";URI=spiffe://a,By=…
//
// What always holds here:
//
//  1. A header is read whole or not at all: one element that is no element
//     makes all of them worthless, since what a proxy wrote can't be told from
//     what it let pass.
//  2. Elements stay in their order. The last was written by the nearest proxy.
//  3. What a proxy writes once is there once, in whatever case its key is.
//  4. Nothing here says whether a header may be believed.
package xfcc
