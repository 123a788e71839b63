package vm

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseMatrix(t *testing.T) {
	got, err := ParseMatrix(strings.NewReader(`
# kernel suite package boot offers tests parameters
6.1  bookworm  linux-image  plain  root,bpf  all            -
6.1  bookworm  linux-image  lsm    -         loader,agent  lsm=yama,bpf  quiet
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Boot{
		{"6.1", "bookworm", "linux-image", "plain", []string{"root", "bpf"}, nil, ""},
		{"6.1", "bookworm", "linux-image", "lsm", nil, []string{"loader", "agent"}, "lsm=yama,bpf quiet"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseMatrixRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":     {"# nothing\n", "no boots"},
		"too short":   {"\n6.1 bookworm linux-image plain root\n", "line 2 has 5 columns, want 7"},
		"twice":       {"6.1 s p plain - all -\n6.1 s p plain root all -\n", "line 2 gives 6.1-plain a second time"},
		"two origins": {"6.1 s p plain - all -\n6.1 t p other - all -\n", "line 2 takes kernel 6.1 from t p"},
	} {
		if _, err := ParseMatrix(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want ...%s...", name, err, tc.want)
		}
	}
}
