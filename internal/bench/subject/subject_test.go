package subject

import "testing"

func TestLowestCost(t *testing.T) {
	if got, err := lowestCost("10 1000\n4 100\n3 900\n"); got != 25 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "0 100\n", "open: no such file\n"} {
		if _, err := lowestCost(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestSumFields(t *testing.T) {
	got, err := sumFields("pos:\t0\nmemlock:\t4096\nmap_id:\t3\nmemlock:\t1\n", "memlock:")
	if got != 4097 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := sumFields("memlock:\tmany\n", "memlock:"); err == nil {
		t.Error("a word was taken for a number")
	}
}
