package rules

import (
	"net/netip"
)

// codeDemand asks for the codes of the values that satisfy a literal on an enumerated
// field, whatever its operator: they are few enough to try each.
func codeDemand(l *literal) demand {
	var keys Group
	for i, value := range l.field.Info().Values {
		if l.holds(value) {
			keys = append(keys, Key{Field: l.field, Kind: NumberEquals, Number: uint64(i) + 1})
		}
	}
	if len(keys) == 0 {
		return demand{never: true}
	}
	return demand{groups: []Group{keys}}
}

// addressDemand is that of a field that is an IP address. The kernel compares its bits, and
// knows nothing of its text.
func addressDemand(l *literal) demand {
	network := l.network
	switch l.op {
	case opNetwork:
	case opEquals:
		addr, err := netip.ParseAddr(l.text)
		if err != nil {
			return demand{weak: true}
		}
		network = netip.PrefixFrom(addr, addr.BitLen())
	default:
		return demand{weak: true}
	}
	return demand{groups: []Group{{{Field: l.field, Kind: InNetwork, Network: network.Masked()}}}}
}
