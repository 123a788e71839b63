package event

import (
	"fmt"
	"net/netip"
)

// Network is a socket's two sides, as far as they are known.
type Network struct {
	Destination netip.Addr // the peer; the zero Addr if not known
	Port        uint16     // the peer's
	Source      netip.Addr // this host's side (network_listen); the zero Addr if not known
	SourcePort  uint16
	Transport   string // "tcp", "udp", or "" if it is another
}

var (
	networkOperations = []string{"bind", "listen", "accept"}
	transports        = []string{"tcp", "udp"}
	networkTypes      = []string{"ipv4", "ipv6"}
)

// networkOperationDocs say what each operation is, and which fields it has.
var networkOperationDocs = []string{
	"a socket gets an address of this host: `source.*`",
	"a socket waits for connections: `source.*`",
	"a connection came in: `source.*`, `destination.*`",
}

// plainAddr is an address as rules and output have it: IPv4 if it is mapped into IPv6,
// and without a zone, which is a name of this host's.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// ip is the text of an address, "" if it is not known.
func ip(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return plainAddr(addr).String()
}

// family names the version of IP, "" if it is not known: the peer's, or that of this
// host's side if there is no peer.
func (n *Network) family() string {
	addr := n.Destination
	if !addr.IsValid() {
		addr = n.Source
	}
	switch addr = plainAddr(addr); {
	case addr.Is4():
		return "ipv4"
	case addr.Is6():
		return "ipv6"
	}
	return ""
}

// endpoint is one side for people, for example "[2001:db8::1]:443/tcp"; "" if it is
// not known.
func (n *Network) endpoint(addr netip.Addr, port uint16) string {
	if !addr.IsValid() {
		return ""
	}
	side := netip.AddrPortFrom(plainAddr(addr), port).String()
	if n.Transport != "" {
		side += "/" + n.Transport
	}
	return side
}

func (n *Network) text(f Field) string {
	switch f {
	case SourceIP:
		return ip(n.Source)
	case DestinationIP:
		return ip(n.Destination)
	case NetworkTransport:
		return n.Transport
	case NetworkType:
		return n.family()
	}
	return ""
}

func (n *Network) setText(f Field, value string, class Class) error {
	switch f {
	case NetworkTransport:
		n.Transport = value
	case NetworkType:
		if n.family() == value {
			return nil
		}
		unspecified := netip.IPv6Unspecified()
		if value == "ipv4" {
			unspecified = netip.IPv4Unspecified()
		}
		if class == NetworkListen { // which has a peer only in accept
			n.Source = unspecified
		} else {
			n.Destination = unspecified
		}
	default:
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("setting %s: want an IP address, have %q", f, value)
		}
		if f == SourceIP {
			n.Source = plainAddr(addr)
		} else {
			n.Destination = plainAddr(addr)
		}
	}
	return nil
}

// Contains reports whether the address that field f holds is in the
// network. It is false if the address is not known, and for fields that hold none.
func (e *Event) Contains(f Field, network netip.Prefix) bool {
	switch f {
	case DestinationIP:
		return network.Contains(plainAddr(e.Network.Destination))
	case SourceIP:
		return network.Contains(plainAddr(e.Network.Source))
	}
	return false
}

// direction is ECS's network.direction; "" if nothing was sent.
func (e *Event) direction() string {
	switch {
	case e.Class == NetworkConnect:
		return "egress"
	case e.Operation == "accept":
		return "ingress"
	}
	return ""
}

func appendNetwork(w *writer, e *Event) {
	n := &e.Network
	side := func(name string, addr netip.Addr, port uint16) {
		w.object(name, name+".", func() {
			w.text("address", ip(addr))
			w.text("ip", ip(addr))
			if addr.IsValid() || port != 0 {
				w.number("port", uint64(port))
			}
		})
	}
	switch e.Class {
	case NetworkListen:
		side("source", n.Source, n.SourcePort)
	case NetworkConnect:
	default:
		return
	}
	side("destination", n.Destination, n.Port)
	w.object("network", "network.", func() {
		w.text("transport", n.Transport)
		w.text("type", n.family())
		w.text("direction", e.direction())
	})
}

// networkListen appends what was done with the socket of a network_listen.
func (l *line) networkListen(e *Event) {
	n := &e.Network
	l.known("listen", e.Operation)
	l.known("src", n.endpoint(n.Source, n.SourcePort))
	l.known("dst", n.endpoint(n.Destination, n.Port))
}
