package fsstore

import (
	"slices"
	"strings"

	"bittern/internal/rules"
)

// ListsName is the name of the directory below the rules directory whose files are lists.
const ListsName = "lists"

// ListOf returns the name of the list that a file is, by the file's path in the rules directory.
func ListOf(name string) (string, bool) {
	base, ok := strings.CutPrefix(name, ListsName+"/")
	stem, _, _ := strings.Cut(base, ".")
	return stem, ok
}

// ownedLists are the lists that rules can use, or can't because they are wrong, by name. Of
// several files that define one the owner is the one that had it first; the others have a problem.
type ownedLists map[string]ownedList

type ownedList struct {
	list  *rules.List
	owner string // name of a source
}

// now returns the lists.
func (o ownedLists) now() rules.Lists {
	lists := make(rules.Lists, len(o))
	for name, l := range o {
		lists[name] = l.list
	}
	return lists
}

// differ reports whether rules could use other lists before.
func (o ownedLists) differ(before ownedLists) bool {
	for name, l := range o {
		if !l.list.Same(before[name].list) {
			return true
		}
	}
	for name := range before {
		if _, ok := o[name]; !ok {
			return true
		}
	}
	return false
}

// listSource is what a file has to do with lists, after updates.
type listSource struct {
	lists   []*rules.List
	unknown *rules.Problem
	missing bool
}

func (ls *listSource) list(name string) *rules.List {
	at := slices.IndexFunc(ls.lists, func(l *rules.List) bool { return l.Name == name })
	if at < 0 {
		return nil
	}
	return ls.lists[at]
}

// defines returns the lists that a judged file defines, and why it is not known whether it
// defines others.
func (u update) defines() ([]*rules.List, *rules.Problem) {
	if u.file == nil {
		return nil, &rules.Problem{Pos: rules.Position{File: u.path}, Message: "file is empty", Hint: "give it content, or remove it"}
	}
	for _, p := range u.file.Problems {
		if !p.Warning {
			return u.file.Lists, &p
		}
	}
	return u.file.Lists, nil
}

// uses returns the file if its rules use lists, and what it was read from.
func (u update) uses() (*rules.File, []byte) {
	if u.file == nil || !slices.ContainsFunc(u.file.Documents, func(d rules.Document) bool { return len(d.Uses) > 0 }) {
		return nil, nil
	}
	return u.file, u.data
}

// listSources are all files that have to do with lists, after updates.
func (s *set) listSources(updates []update) map[string]*listSource {
	all := make(map[string]*listSource)
	owners := make(map[string]bool)
	for _, l := range s.lists {
		owners[l.owner] = true
	}
	for name, src := range s.sources {
		if len(src.lists) > 0 || owners[name] {
			all[name] = &listSource{src.lists, src.unknown, src.missing}
		}
	}
	for _, u := range updates {
		if u.from != "" {
			delete(all, u.from)
		}
		ls := all[u.name]
		if ls == nil {
			ls = &listSource{}
			all[u.name] = ls
		}
		ls.missing = u.kind == miss
		switch u.kind {
		case judge:
			ls.lists, ls.unknown = u.defines()
		case refuse:
			ls.lists, ls.unknown = nil, u.problem
		case drop:
			delete(all, u.name)
		}
	}
	return all
}

// listsAfter returns the lists that there are after updates.
func (s *set) listsAfter(updates []update) ownedLists {
	sources := s.listSources(updates)
	after := make(ownedLists)
	renamed := make(map[string]string)
	for _, u := range updates {
		if u.from != "" {
			renamed[u.from] = u.name
		}
	}
	for name, was := range s.lists {
		if to, ok := renamed[was.owner]; ok {
			was.owner = to
		}
		owner := sources[was.owner]
		switch {
		case owner == nil:
		case owner.missing:
			after[name] = was // nothing happens yet, unless it is where it moved to
			for _, u := range updates {
				if u.kind == judge && !u.again && sources[u.name].list(name) != nil {
					after[name] = ownedList{sources[u.name].list(name), u.name}
					break
				}
			}
		case owner.list(name) != nil:
			after[name] = ownedList{owner.list(name), was.owner}
		case owner.unknown != nil:
			after[name] = ownedList{was.list.Refused(*owner.unknown), was.owner}
		}
	}
	for file, ls := range sources {
		for _, list := range ls.lists {
			has, ok := after[list.Name]
			if _, kept := s.lists[list.Name]; !ls.missing && (!ok || !kept && file < has.owner) {
				after[list.Name] = ownedList{list, file}
			}
		}
	}
	return after
}
