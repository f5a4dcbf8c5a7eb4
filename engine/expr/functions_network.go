package expr

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// networkFunctions declares inIPAddrRange. The other functions about addresses
// are those of CEL's network extension.
func networkFunctions() []cel.EnvOption {
	return []cel.EnvOption{cel.Function("inIPAddrRange",
		cel.MemberOverload("string_inIPAddrRange_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(address, cidr ref.Val) ref.Val {
				in, err := inIPAddrRange(string(address.(types.String)), string(cidr.(types.String)))
				if err != nil {
					return types.WrapErr(err)
				}
				return types.Bool(in)
			})))}
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
