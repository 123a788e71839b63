package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// addr is the destination as an address of its own: IPv4 if it is mapped into IPv6,
// and without a zone, which is a name of this host's.
func (n *Network) addr() netip.Addr { return n.Destination.Unmap().WithZone("") }

// ip is the text of the destination's address, "" if it is not known.
func (n *Network) ip() string {
	if !n.Destination.IsValid() {
		return ""
	}
	return n.addr().String()
}

// family names the version of IP, "" if it is not known.
func (n *Network) family() string {
	switch addr := n.addr(); {
	case addr.Is4():
		return "ipv4"
	case addr.Is6():
		return "ipv6"
	}
	return ""
}

// peer is the destination for people, for example "[2001:db8::1]:443/tcp"; "" if it
// is not known.
func (n *Network) peer() string {
	if !n.Destination.IsValid() {
		return ""
	}
	peer := netip.AddrPortFrom(n.addr(), n.Port).String()
	if n.Transport != "" {
		peer += "/" + n.Transport
	}
	return peer
}

func (n *Network) set(f Field, value string) error {
	if values := f.Info().Values; values != nil && !slices.Contains(values, value) {
		return fmt.Errorf("setting %s: want %s, have %q", f, strings.Join(values, " or "), value)
	}
	switch f {
	case NetworkTransport:
		n.Transport = value
	case NetworkType:
		if n.family() == value {
			return nil
		}
		n.Destination = netip.IPv6Unspecified()
		if value == "ipv4" {
			n.Destination = netip.IPv4Unspecified()
		}
	default:
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("setting %s: want an IP address, have %q", f, value)
		}
		n.Destination = addr.Unmap().WithZone("")
	}
	return nil
}

// Contains reports whether the address that field f holds is in the
// network. It is false if the address is not known, and for fields that hold none.
func (e *Event) Contains(f Field, network netip.Prefix) bool {
	return f == DestinationIP && network.Contains(e.Network.addr())
}

func appendNetwork(w *writer, e *Event) {
	if e.Class != NetworkConnect {
		return
	}
	n := &e.Network
	w.object("destination", "destination.", func() {
		w.text("address", n.ip())
		w.text("ip", n.ip())
		if n.Destination.IsValid() {
			w.number("port", uint64(n.Port))
		}
	})
	w.object("network", "network.", func() {
		w.text("transport", n.Transport)
		w.text("type", n.family())
		w.text("direction", "egress")
	})
}
