package loader

import "bittern/internal/event"

// HookChoice is a hook that can give the events of a class, for the reference.
type HookChoice struct {
	Name   string
	Least  string // Linux that has it; one with features carried back may be older
	Misses string // what it does not see, or costs; "" if nothing
	// Without lists what is not seen on a kernel that lacks a part of it.
	Without []string
}

// HookChoices lists the hooks of a class, best first: those that are tried.
func HookChoices(class event.Class) []HookChoice {
	var all []HookChoice
	for _, h := range fixedHooks {
		if h.Class == class {
			all = append(all, HookChoice{Name: h.Name, Least: "5.5", Misses: "before Linux 5.18, the arguments of processes from before the agent"})
		}
	}
	for _, c := range sources[class].candidates {
		choice := HookChoice{Name: c.name, Least: c.least, Misses: c.misses}
		for _, p := range c.parts {
			if p.misses != "" {
				choice.Without = append(choice.Without, p.misses)
			}
		}
		all = append(all, choice)
	}
	return all
}
