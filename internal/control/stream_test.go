package control

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// errEnough ends a stream.
var errEnough = errors.New("enough")

// numbered is a record that says nothing but a number.
type numbered int

func (n numbered) AppendJSON(dst []byte) []byte { return fmt.Appendf(dst, `{"n":%d}`, n) }

func (n numbered) AppendText(dst []byte, colour bool) []byte {
	if colour {
		dst = append(dst, "red "...)
	}
	return fmt.Appendf(dst, "no. %d", n)
}

// records end with one that all filters of the tests let pass.
var records = []Record{
	{Encoder: numbered(1), RuleID: "R1", Severity: "low", Class: "file_open", Attack: []string{"TA0006", "T1003", "T1003.008"}},
	{Encoder: numbered(2), RuleID: "R2", Severity: "high", Class: "process_exec", Attack: []string{"TA0011", "T1105"}},
	{Encoder: numbered(6), RuleID: "R2", Severity: "high", Repeats: true, Attack: []string{"TA0011", "T1105"}},
	{Encoder: numbered(3)},
	{Encoder: numbered(4), RuleID: "R2", Severity: "", Class: "process_exec", Attack: []string{"TA0002", "T10035"}},
	{Encoder: numbered(5)},
}

func TestFilters(t *testing.T) {
	_, s, c := serve(t)
	for query, want := range map[string]string{
		"":                               "detection1 detection2 repeats6 gap3 detection4 gap5",
		"severity=high":                  "detection2 repeats6 gap3 gap5",
		"severity=informational":         "detection1 detection2 repeats6 gap3 gap5",
		"rule=R1":                        "detection1 gap3 gap5",
		"rule=R1&severity=high":          "gap3 gap5",
		"rule=R1&rule=R2&rule=3":         "detection1 detection2 repeats6 gap3 detection4 gap5",
		"class=file_open":                "detection1 repeats6 gap3 gap5",
		"attack=T1003":                   "detection1 gap3 gap5",
		"attack=t1003.008&attack=ta0011": "detection1 detection2 repeats6 gap3 gap5",
		"attack=T1003.001":               "gap3 gap5",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		publish := func() {
			for _, r := range records {
				s.Records.Publish(r)
			}
		}
		err = c.Events(t.Context(), values, publish, func(e Sent) error {
			got = append(got, e.Name+strings.Trim(string(e.Data), `{}"n:`))
			if strings.HasSuffix(got[len(got)-1], "5") {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) || strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, %v, want %s", query, got, err, want)
		}
	}
	for query, want := range map[string]string{
		"severity=loud": `unknown severity "loud"`, "form=xml": `unknown form "xml"`, "recent=-1": `recent is "-1"`, "recent=all": `recent is "all"`,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Events(t.Context(), values, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", query, err)
		}
	}
}

func TestRecent(t *testing.T) {
	_, s, c := serve(t)
	for i := range recentLimit + 3 {
		s.Records.Publish(Record{Encoder: numbered(i), RuleID: "R1"})
	}
	ask := func(query url.Values) []string {
		t.Helper()
		var got []string
		query.Set("follow", "false")
		err := c.Events(t.Context(), query, nil, func(e Sent) error {
			got = append(got, string(e.Data))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := ask(url.Values{"recent": {"2"}}); strings.Join(got, " ") != fmt.Sprintf(`{"n":%d} {"n":%d}`, recentLimit+1, recentLimit+2) {
		t.Errorf("got %v", got)
	}
	if got := ask(url.Values{"recent": {"1"}, "form": {"text"}, "colour": {"true"}}); len(got) != 1 || got[0] != fmt.Sprintf("red no. %d", recentLimit+2) {
		t.Errorf("got %v", got)
	}
	if got := ask(url.Values{"recent": {"100000"}}); len(got) != recentLimit || got[0] != `{"n":3}` {
		t.Errorf("got %d, %v", len(got), got[0])
	}
	if got := ask(url.Values{}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestTopics(t *testing.T) {
	_, s, c := serve(t)
	var got []string
	err := c.ChangesOf(t.Context(), url.Values{"topic": {"rule.state.", "rule.reloaded.R2"}}, func() {
		for _, topic := range []string{"rule.reloaded.R1", "rule.state.R1", "rule.reloaded.R2"} {
			s.Changes.Publish(Change{Topic: topic})
		}
		s.Changes.Close()
	}, func(e Sent) error {
		got = append(got, e.Name)
		return nil
	})
	if err != nil || strings.Join(got, " ") != "rule.state.R1 rule.reloaded.R2" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSlowListener(t *testing.T) {
	h := NewHub[int](2)
	s, other := h.Listen(2, 0), h.Listen(5, 0)
	for i := range 5 {
		h.Publish(i)
	}
	late := h.Listen(1, 9)
	h.Publish(5)
	h.Publish(6)
	h.Close()
	read := func(s *Stream[int]) string {
		t.Helper()
		var got []string
		for {
			v, lost, err := s.Next(t.Context())
			if errors.Is(err, ErrClosed) {
				return strings.Join(got, ", ")
			}
			got = append(got, fmt.Sprint(v, " ", lost))
		}
	}
	for _, each := range []struct {
		stream *Stream[int]
		want   string
	}{
		{s, "0 5, 1 0"}, {other, "0 2, 1 0, 2 0, 3 0, 4 0"}, {late, "3 1, 4 0, 5 0"}, {h.Listen(1, 1), "6 0"}, {h.Listen(1, 0), ""},
	} {
		if got := read(each.stream); got != each.want {
			t.Errorf("got %q, want %q", got, each.want)
		}
	}
}
