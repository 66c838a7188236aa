package perf

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestRolesTellChildFromServer(t *testing.T) {
	parents := map[int]int{10: 1, 20: 10, 30: 1}
	parent := func(pid int) (int, error) {
		p, ok := parents[pid]
		if !ok {
			return 0, os.ErrNotExist
		}
		return p, nil
	}
	child, server := Helper{"child", 20}, Helper{"server", 10}
	for _, pids := range [][]int{{10, 20}, {20, 10}} {
		if got := roles(pids, parent); !slices.Equal(got, []Helper{child, server}) {
			t.Errorf("roles(%v) = %v", pids, got)
		}
	}
	if got := roles([]int{30, 99}, parent); !slices.Equal(got, []Helper{{"server", 30}, {"server", 99}}) {
		t.Errorf("strangers: %v", got)
	}
}

func TestUserStackWithoutAServer(t *testing.T) {
	t.Setenv("USERTCP_SERVER", t.TempDir()+"/nobody.sock")
	st, err := NewStack("user", Tuning{})
	if err != nil {
		t.Fatal(err)
	}
	_, dialErr := st.Dial(t.Context(), "10.1.0.2:80")
	_, listenErr := st.Listen(t.Context(), "10.1.0.1:80")
	for _, err := range []error{dialErr, listenErr} {
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "usertcp server") {
			t.Errorf("error %v, want one that says how to start a server", err)
		}
	}
	if helpers := st.Helpers(); len(helpers) != 0 {
		t.Errorf("helpers %v without a server", helpers)
	}
}
