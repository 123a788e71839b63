package rules

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"bittern/internal/event"
)

// The costs below are guesses at how many of a million events hit a key. Only
// their order matters: it decides which group of a clause the kernel looks at
// first, and which gram stands for a long text.
const (
	costMin   = 100
	costMost  = 500_000
	costLimit = 1_000_000
	// costUseless is from where on a gram beside a rarer group of the same literal
	// costs the kernel more lookups than it saves.
	costUseless = 200_000
)

// cost estimates how often any key of the group is hit.
func (g Group) cost() int {
	total := 0
	for _, k := range g {
		total += k.cost()
	}
	return min(total, costLimit)
}

// costOfImages is added where a look-up needs to know what a process runs: that is not at hand,
// but in the events of an execution. It must pay to look at it for all events of a class.
const costOfImages = 300_000

// imageFields are the kernel's fields of what the process and its parent run.
var imageFields = []event.Field{
	event.ProcessExecutable, event.ProcessCommandLine, event.ProcessScript,
	event.ProcessExecutableTruncated, event.ProcessExecutableDeleted, event.ProcessExecutableMemfd, event.ProcessCommandLineTruncated,
	event.ProcessParentPID, event.ProcessParentExecutable, event.ProcessParentCommandLine,
	event.ProcessParentExecutableTruncated, event.ProcessParentCommandLineTruncated,
}

// leadCost is what it costs to look at the group before all others.
func (g Group) leadCost(class event.Class) int {
	cost := g.cost()
	if class != event.ProcessExec && slices.ContainsFunc(g, func(k Key) bool { return slices.Contains(imageFields, k.Field) }) {
		cost += costOfImages
	}
	return cost
}

// thin leaves out groups of common grams, except the rarest group. For a literal
// that user space decides anyway.
func thin(groups []draftGroup) []draftGroup {
	kept := groups[:0:0]
	for i, g := range groups {
		useless := func(k Key) bool { return k.Kind == Gram && k.cost() >= costUseless }
		if i == 0 || !slices.ContainsFunc(g.keys, useless) {
			kept = append(kept, g)
		}
	}
	return kept
}

func (k Key) cost() int {
	switch k.Kind {
	case Equals:
		return costMin
	case Prefix, Suffix:
		return edgeCost(k)
	case Gram:
		return gramCost(k.Text)
	case InNetwork:
		return networkCost(k.Network)
	}
	return numberCost(k)
}

// busyDirectories are the starts of most paths.
var busyDirectories = []string{"/usr/bin/", "/usr/lib/", "/usr/libexec/", "/usr/sbin/", "/bin/", "/sbin/", "/lib/", "/home/", "/root/"}

// busyFiles are the starts of most paths of files that are opened.
var busyFiles = []string{"/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", "/usr/lib/", "/var/lib/", "/home/"}

func edgeCost(k Key) int {
	if k.Kind == Prefix {
		busy := busyDirectories
		switch k.Field {
		case event.FilePath, event.FileNewPath, event.FileTargetPath, event.MountSource:
			busy = busyFiles
		}
		for _, start := range busy {
			if strings.HasPrefix(start, k.Text) {
				return costMost
			}
		}
	}
	if strings.HasSuffix(k.Text, "/") {
		return 50_000 // a directory, or a path that ends as one
	}
	switch len(k.Text) {
	case 0, 1:
		return 300_000
	case 2:
		return 50_000
	case 3:
		return 10_000
	case 4, 5:
		return 2_000
	}
	return 500
}

// networkCost is small for a few addresses; a host talks most to private networks and to
// itself.
func networkCost(network netip.Prefix) int {
	host := network.Addr().BitLen() - network.Bits()
	switch {
	case network.Bits() == 0:
		return costLimit - 1
	case network.Addr().IsPrivate() || network.Addr().IsLoopback():
		return costMost
	case host == 0:
		return costMin
	case host <= 8:
		return 500
	}
	return min(500<<(host/8), 100_000)
}

// busyPorts are those that most connections go to: DNS, HTTP, HTTPS.
var busyPorts = []uint64{53, 80, 443}

func numberCost(k Key) int {
	info := k.Field.Info()
	switch {
	case info.Values != nil:
		return codeCost(k.Field, info.Values[k.Number-1])
	case k.Field == event.FileOpenRead && k.Number != 0, k.Field == event.ProcessExitCode && k.Number == 0:
		return costMost
	case k.Field == event.FileOpenRead, k.Field == event.FileOpenWrite && k.Number != 0,
		k.Field == event.FileModeExecutable && k.Number != 0:
		return 100_000
	case k.Field == event.ProcessExitSignal && k.Number == 0:
		return costLimit - 1
	case k.Field == event.ProcessExitSignal:
		return 10_000
	case info.Kind == event.Bool && k.Number == 0:
		return costLimit - 1
	case info.Kind == event.Bool:
		return 10_000
	case k.Field == event.DestinationPort && k.Number == 0: // there is no peer
		return costMost
	case (k.Field == event.DestinationPort || k.Field == event.SourcePort) && slices.Contains(busyPorts, k.Number):
		return costMost
	case k.Field == event.DestinationPort, k.Field == event.SourcePort:
		return 2_000
	case k.Field == event.FileUID, k.Field == event.FileGID:
		return 10_000 // of chown only
	case k.Field == event.ProcessPID, k.Field == event.PrivilegeTargetPID:
		return costMin
	case k.Number == 0: // root
		return costMost
	}
	return 100_000
}

// commonValues are the values that enumerated fields have often, with their costs.
var commonValues = map[event.Field]map[string]int{
	event.FileOperation: {
		"create": costMost, "unlink": costMost, "rename": 200_000, "mkdir": 50_000, "rmdir": 50_000, "truncate": 50_000, "chmod": 50_000,
	},
	event.NetworkOperation:    {"accept": costMost, "bind": 200_000, "listen": 50_000},
	event.NetworkTransport:    {"tcp": costMost, "udp": 300_000},
	event.NetworkType:         {"ipv4": costMost, "ipv6": 300_000},
	event.PrivilegeOperation:  {"setuid": costMost, "setgid": costMost, "capset": 100_000, "mount": 50_000},
	event.PrivilegeNamespaces: {"mnt": 50_000, "user": 50_000},
	event.KernelType:          {"cgroup_device": 100_000, "cgroup_skb": 100_000},
}

// codeCost is numberCost for a value of an enumerated field.
func codeCost(f event.Field, value string) int {
	if cost, ok := commonValues[f][value]; ok {
		return cost
	}
	const rare = 10_000
	return rare
}

// busyText are strings that occur in many command lines and paths. A gram of
// one says little, however rare its bytes are.
var busyText = []string{
	"/usr/bin/", "/usr/lib/", "/usr/local/", "/usr/share/", "/usr/sbin/", "/bin/sh -c ", "/bin/bash", "/etc/", "/home/", "/var/lib/",
	"/var/log/", "/tmp/", "/proc/", "/dev/null", "/run/", "/opt/", "/root/", "-linux-gnu", "systemd",
	"python3", ".conf", ".json", ".so.", "config", "version", "--no-", "2>&1", " --", " -c ", "&& ", "localhost", "127.0.0.1",
}

// busyGrams are all grams of busyText.
var busyGrams = sync.OnceValue(func() map[string]bool {
	all := make(map[string]bool)
	for _, text := range busyText {
		for from := range len(text) {
			for to := from + 1; to <= min(from+maxGram, len(text)); to++ {
				all[text[from:to]] = true
			}
		}
	}
	return all
})

func gramCost(gram string) int {
	return min(max(1<<max(31-gramRarity(gram), 0), 3*costMin), costMost)
}

// gramRarity is about -log2 of the share of places in command lines and paths
// where the gram is found.
func gramRarity(gram string) int {
	rarity := 0
	for i := range len(gram) {
		rarity += byteRarity(gram[i])
	}
	if busyGrams()[gram] {
		rarity -= 7
	}
	return rarity
}

// byteRarity is about -log2 of a byte's share of command lines and paths.
func byteRarity(c byte) int {
	switch {
	case strings.IndexByte("/e st", c) >= 0:
		return 3
	case strings.IndexByte("arinol-", c) >= 0:
		return 4
	case strings.IndexByte("cdupm.", c) >= 0:
		return 5
	case strings.IndexByte("bfghvy_012:=", c) >= 0:
		return 6
	case 'a' <= c && c <= 'z', '3' <= c && c <= '9', c == ',', c == '"', c == '\'':
		return 7
	}
	return 9
}

// rarestGram returns the window of maxGram bytes of a longer text that the
// fewest events have, the first of several.
func rarestGram(text string) string {
	text = lowerASCII(text)
	best, most := "", math.MinInt
	for i := range len(text) - maxGram + 1 {
		gram := text[i : i+maxGram]
		if rarity := gramRarity(gram); rarity > most {
			best, most = gram, rarity
		}
	}
	return best
}
