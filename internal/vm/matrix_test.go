package vm

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseMatrix(t *testing.T) {
	got, err := ParseMatrix(strings.NewReader(`
# kernel suite package boot offers cpus tests parameters
6.1  bookworm  linux-image  plain  root,bpf  2  all                   -
6.1  bookworm  linux-image  lsm    -         1  loader/TestA|B,agent  lsm=yama,bpf  quiet
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Boot{
		{"6.1", "bookworm", "linux-image", "plain", []string{"root", "bpf"}, 2, nil, ""},
		{"6.1", "bookworm", "linux-image", "lsm", nil, 1, []Selection{{"loader", "TestA|B"}, {"agent", ""}}, "lsm=yama,bpf quiet"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseMatrixRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":     {"# nothing\n", "no boots"},
		"too short":   {"\n6.1 bookworm linux-image plain root\n", "line 2 has 5 columns, want 8"},
		"no CPUs":     {"6.1 s p plain - all all -\n", `line 1 gives 6.1-plain "all" CPUs`},
		"twice":       {"6.1 s p plain - 2 all -\n6.1 s p plain root 2 all -\n", "line 2 gives 6.1-plain a second time"},
		"two origins": {"6.1 s p plain - 2 all -\n6.1 t p other - 2 all -\n", "line 2 takes kernel 6.1 from t p"},
	} {
		if _, err := ParseMatrix(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want ...%s...", name, err, tc.want)
		}
	}
}
