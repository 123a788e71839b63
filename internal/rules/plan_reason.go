package rules

import (
	"fmt"
	"strconv"
	"strings"

	"bittern/internal/event"
)

// Reasons that have to do with the whole condition.
const (
	reasonTooMuch      = "the condition asks for too much at once: the kernel leaves this out"
	reasonAlternatives = "the condition has too many alternatives: the kernel takes several of them as one"
	reasonCombinations = "the condition has too many combinations: the kernel takes these alternatives as one"
)

// weakReason says why the kernel does not decide a literal, and what it does.
func weakReason(l *literal, groups []draftGroup) string {
	why := weakCause(l)
	if len(groups) == 0 {
		return why + ", and nothing of it narrows the search in the kernel"
	}
	return why + "; the kernel looks for: " + describeGroups(groups)
}

func weakCause(l *literal) string {
	_, isName := pathOfName(l.field)
	switch {
	case l.field.Info().Address:
		return "the kernel compares addresses by their bits, and does not know their text"
	case l.field == event.FieldContainerID:
		return "containers are told apart in user space"
	case l.field == event.UserName:
		return "user names are looked up in user space"
	case l.op == opRegexp:
		return "regular expressions are decided in user space"
	case l.op == opGlob:
		return "wildcards inside a text are decided in user space"
	case l.field == event.ProcessArgs:
		return "arguments are told apart in user space"
	case l.text == "":
		return "an empty text is compared in user space"
	case l.op <= opStartsWith && l.op != opEquals && isName:
		return "the kernel sees a name only as part of the whole path"
	case l.op == opContains && len(l.text) < minGram:
		return "a single byte is too short to look for"
	case l.op == opContains && len(l.text) > maxGram:
		return fmt.Sprintf("texts of more than %d bytes inside a value are compared in user space", maxGram)
	case l.op == opContains && !l.fold && hasLetter(l.text):
		return "inside a value the kernel does not tell upper from lower case (with |nocase it decides by itself)"
	}
	return "the text is too long for the kernel to compare it whole"
}

// notReason says why a negated literal excludes nothing in the kernel.
func notReason(l *literal) string {
	return weakCause(l) + ", so the kernel can't exclude events by it"
}

// describeGroups says in one line what is looked for.
func describeGroups(groups []draftGroup) string {
	const most = 4 // keys of a group
	const long = 40
	parts := make([]string, len(groups))
	for i, g := range groups {
		var words []string
		for _, k := range g.keys[:min(len(g.keys), most)] {
			if k.Kind == Suffix && len(k.Text) > long {
				k.Text = "..." + k.Text[len(k.Text)-long:]
			} else if len(k.Text) > long {
				k.Text = k.Text[:long] + "..."
			}
			words = append(words, k.test())
		}
		if len(g.keys) > most {
			words = append(words, fmt.Sprintf("%d more", len(g.keys)-most))
		}
		parts[i] = g.keys[0].Field.String() + " " + strings.Join(words, " or ")
	}
	return strings.Join(parts, ", and ")
}

// test says how the key is compared, without its field.
func (k Key) test() string {
	switch k.Kind {
	case Equals:
		return "is " + k.quoted()
	case Prefix:
		return "starts with " + k.quoted()
	case Suffix:
		return "ends with " + k.quoted()
	case Gram:
		return "contains " + k.quoted()
	case InNetwork:
		if k.Network.IsSingleIP() {
			return "is " + k.Network.Addr().String()
		}
		return "is in " + k.Network.String()
	}
	switch info := k.Field.Info(); {
	case info.Kind == event.Bool:
		return "is " + strconv.FormatBool(k.Number != 0)
	case info.Values != nil:
		return "is " + info.Values[k.Number-1]
	}
	return "is " + strconv.FormatUint(k.Number, 10)
}

func (k Key) quoted() string {
	var how []string
	if k.Kind == Gram {
		how = append(how, "gram")
	}
	if k.Fold && hasLetter(k.Text) {
		how = append(how, "any case")
	}
	if len(how) == 0 {
		return strconv.Quote(k.Text)
	}
	return strconv.Quote(k.Text) + " (" + strings.Join(how, ", ") + ")"
}
