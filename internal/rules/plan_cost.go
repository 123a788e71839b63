package rules

import (
	"slices"
	"strings"

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
		if k.Field == event.FilePath {
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

// busyPorts are those that most connections go to: DNS, HTTP, HTTPS.
var busyPorts = []uint64{53, 80, 443}

func numberCost(k Key) int {
	info := k.Field.Info()
	switch {
	case k.Field == event.FileOpenRead && k.Number != 0, k.Field == event.ProcessExitCode && k.Number == 0:
		return costMost
	case k.Field == event.FileOpenRead, k.Field == event.FileOpenWrite && k.Number != 0:
		return 100_000
	case k.Field == event.ProcessExitSignal && k.Number == 0:
		return costLimit - 1
	case k.Field == event.ProcessExitSignal:
		return 10_000
	case info.Kind == event.Bool && k.Number == 0:
		return costLimit - 1
	case info.Kind == event.Bool:
		return 10_000
	case k.Field == event.DestinationPort && slices.Contains(busyPorts, k.Number):
		return costMost
	case k.Field == event.DestinationPort:
		return 2_000
	case k.Field == event.ProcessPID:
		return costMin
	case k.Number == 0: // root
		return costMost
	}
	return 100_000
}

// busyText are strings that occur in many command lines and paths. A gram of
// one says little, however rare its bytes are.
var busyText = []string{
	"/usr/bin/", "/usr/lib/", "/usr/local/", "/usr/share/", "/usr/sbin/", "/bin/sh -c ", "/bin/bash", "/etc/", "/home/", "/var/lib/",
	"/var/log/", "/tmp/", "/proc/", "/dev/null", "/run/", "/opt/", "/root/", "-linux-gnu", "systemd",
	"python3", ".conf", ".json", ".so.", "config", "version", "--no-", "2>&1", " --", " -c ", "&& ", "localhost", "127.0.0.1",
}

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
	if slices.ContainsFunc(busyText, func(busy string) bool { return strings.Contains(busy, gram) }) {
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
	best := text[:maxGram]
	for i := 1; i+maxGram <= len(text); i++ {
		if gram := text[i : i+maxGram]; gramRarity(gram) > gramRarity(best) {
			best = gram
		}
	}
	return best
}
