package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

// possible checks a whole value against what its field can be, and brings addresses
// to their canonical form, which is the one that events have.
func (r *reader) possible(l *literal, n *yaml.Node) bool {
	info := l.field.Info()
	if info.Address {
		addr, ok := r.address(n, l.text, l.field)
		l.text = addr
		return ok
	}
	if info.Values != nil && !slices.ContainsFunc(info.Values, l.holds) {
		r.noValue(l.field, n)
		return false
	}
	return true
}

// noValue reports a value that an enumerated field can't have.
func (r *reader) noValue(f event.Field, n *yaml.Node) {
	values := f.Info().Values
	hint := didYouMean(n.Value, values)
	switch last := len(values) - 1; {
	case last < few:
		hint = fmt.Sprintf("%s is %s or %s", f, strings.Join(values[:last], ", "), values[last])
	case hint == "":
		hint = "the values are listed in docs/reference.md"
	}
	r.errorf(n, hint, "%s can't be %q", f, clip(n.Value))
}

// address returns the canonical form of an IP address.
func (r *reader) address(n *yaml.Node, text string, field event.Field) (string, bool) {
	addr, err := netip.ParseAddr(text)
	switch prefix, notPrefix := netip.ParsePrefix(text); {
	case notPrefix == nil:
		r.errorf(n, fmt.Sprintf("write %s|cidr: '%s'", field, prefix), "%q is a network, and %s is one address", clip(text), field)
	case err != nil:
		r.errorf(n, "write for example '198.51.100.7' or '2001:db8::1'", "%q is not an IP address", clip(text))
	case addr.Zone() != "":
		r.errorf(n, "write "+addr.WithZone("").String(), "%q has a zone, and addresses of events have none", clip(text))
	default:
		return addr.Unmap().String(), true
	}
	return "", false
}

// network reads a value of modifier cidr.
func (r *reader) network(l *literal, n *yaml.Node) expr {
	prefix, err := netip.ParsePrefix(n.Value)
	if err != nil {
		hint := "write an address, a slash and the number of its leading bits that count, for example '10.0.0.0/8' or '2001:db8::/32'"
		if addr, err := netip.ParseAddr(n.Value); err == nil && addr.Zone() == "" {
			hint = "write " + netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()).String()
		}
		r.errorf(n, hint, "%q is not a network", clip(n.Value))
		return nil
	}
	const mappedBits = 96
	if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
		plain := netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits).Masked()
		r.errorf(n, fmt.Sprintf("write %s", plain), "%q can match nothing: IPv4 addresses are compared as such", clip(n.Value))
		return nil
	}
	if masked := prefix.Masked(); masked != prefix {
		r.errorf(n, fmt.Sprintf("write %s", masked), "%q has bits set beyond the first %d", clip(n.Value), prefix.Bits())
		return nil
	}
	l.op, l.network = opNetwork, prefix
	return l
}

// addressFields says which fields are IP addresses.
func addressFields() string {
	var names []string
	for _, info := range event.Fields() {
		if info.Address {
			names = append(names, info.Name)
		}
	}
	return "such fields: " + strings.Join(names, ", ")
}
