package expr

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/parser"
)

// sinceFunction is what timeSince expands to; no source text can spell it.
const sinceFunction = "@timeSince"

// functions declares what the policy language adds to CEL.
func functions() []cel.EnvOption {
	listA := cel.ListType(cel.TypeParamType("A"))
	options := []cel.EnvOption{
		// now() reads a variable of the frame, so that a whole request sees
		// one instant and an expression stays a function of its frame.
		cel.Macros(
			parser.NewGlobalMacro("now", 0, func(h parser.ExprHelper, _ ast.Expr, _ []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewIdent(nowVariable), nil
			}),
			parser.NewGlobalMacro("timeSince", 1, func(h parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewCall(sinceFunction, args[0], h.NewIdent(nowVariable)), nil
			}),
			parser.NewReceiverMacro("timeSince", 0, func(h parser.ExprHelper, target ast.Expr, _ []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewCall(sinceFunction, target, h.NewIdent(nowVariable)), nil
			}),
		),
		cel.Function(sinceFunction,
			cel.Overload("timeSince_timestamp", []*cel.Type{cel.TimestampType, cel.TimestampType}, cel.DurationType,
				cel.BinaryBinding(func(t, now ref.Val) ref.Val {
					return durationSince(now.(types.Timestamp).Time, t.(types.Timestamp).Time)
				}))),
		cel.Function("inIPAddrRange",
			cel.MemberOverload("string_inIPAddrRange_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
				cel.BinaryBinding(func(address, cidr ref.Val) ref.Val {
					in, err := inIPAddrRange(string(address.(types.String)), string(cidr.(types.String)))
					if err != nil {
						return types.WrapErr(err)
					}
					return types.Bool(in)
				}))),
	}
	lists := []struct {
		names  []string
		result *cel.Type
		apply  func(a, b traits.Lister) ref.Val
	}{
		{[]string{"hasIntersection", "has_intersection"}, cel.BoolType, hasIntersection},
		{[]string{"isSubset", "is_subset"}, cel.BoolType, isSubset},
		{[]string{"intersect"}, listA, intersect},
		{[]string{"except"}, listA, except},
	}
	for _, f := range lists {
		binding := cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			la, ok := a.(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(a)
			}
			lb, ok := b.(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(b)
			}
			return f.apply(la, lb)
		})
		for _, name := range f.names {
			options = append(options, cel.Function(name,
				cel.Overload(name+"_list_list", []*cel.Type{listA, listA}, f.result, binding),
				cel.MemberOverload("list_"+name+"_list", []*cel.Type{listA, listA}, f.result, binding)))
		}
	}
	return options
}

// inIPAddrRange tells whether an address lies in a CIDR range. An IPv4 address
// mapped into IPv6 counts as the IPv4 address, in either; an address of another
// family than the range is not in it.
func inIPAddrRange(address, cidr string) (bool, error) {
	a, err := parseAddress(address)
	if err != nil {
		return false, err
	}
	r, err := parseRange(cidr)
	if err != nil {
		return false, err
	}
	return r.Contains(a), nil
}

// parseAddress reads an address in the forms that net.ParseIP takes: without a
// zone, and without leading zeros in IPv4.
func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("inIPAddrRange: %q is not an IP address", s)
	}
	return a.Unmap(), nil
}

// parseRange reads a range in the forms that net.ParseCIDR takes.
func parseRange(s string) (netip.Prefix, error) {
	// This reads all but the odd forms, and allocates nothing.
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), nil
	}
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("inIPAddrRange: %q is not a CIDR range", s)
	}
	ip, mask := n.IP, n.Mask
	if v4 := ip.To4(); v4 != nil {
		ip, mask = v4, mask[len(mask)-net.IPv4len:]
	}
	addr, _ := netip.AddrFromSlice(ip)
	ones, _ := mask.Size()
	return netip.PrefixFrom(addr, ones), nil
}

// contains tells whether a list has an element equal to x.
func contains(l traits.Lister, x ref.Val) bool {
	for it := l.Iterator(); it.HasNext() == types.True; {
		if it.Next().Equal(x) == types.True {
			return true
		}
	}
	return false
}

// keep gives the elements of l that are, or are not, in other, in order.
func keep(l, other traits.Lister, in bool) []ref.Val {
	out := []ref.Val{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		if x := it.Next(); contains(other, x) == in {
			out = append(out, x)
		}
	}
	return out
}

func hasIntersection(a, b traits.Lister) ref.Val { return types.Bool(len(keep(a, b, true)) > 0) }

func isSubset(a, b traits.Lister) ref.Val { return types.Bool(len(keep(a, b, false)) == 0) }

// intersect keeps the order and the repetitions of the shorter list, of the
// first if both are equally long.
func intersect(a, b traits.Lister) ref.Val {
	if b.Size().(types.Int) < a.Size().(types.Int) {
		a, b = b, a
	}
	return types.NewRefValList(types.DefaultTypeAdapter, keep(a, b, true))
}

func except(a, b traits.Lister) ref.Val {
	return types.NewRefValList(types.DefaultTypeAdapter, keep(a, b, false))
}
