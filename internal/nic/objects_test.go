package nic

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

var update = flag.Bool("update", false, "write bpf/SUMS anew; go generate does it")

// sums describes what the objects are made of, and the objects: source files, the
// command, and the compiler where there is one.
func sums(t *testing.T, compiler string) string {
	t.Helper()
	var b strings.Builder
	files, err := filepath.Glob("bpf/*.[ch]")
	must(t, err)
	for _, f := range append(files, "objects.go", "kernel_bpfeb.o", "kernel_bpfel.o", "kernel_bpfeb.go", "kernel_bpfel.go") {
		text, err := os.ReadFile(f)
		must(t, err)
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), f)
	}
	return b.String() + "compiler: " + compiler + "\n"
}

// clang returns the first line of what it says of itself, empty if there is none.
func clang() string {
	out, err := exec.Command("clang", "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line)
}

// The committed objects are what the sources say. Without clang the sums tell; with the
// clang that has made them they are made again.
func TestObjectsAreFresh(t *testing.T) {
	if *update {
		must(t, os.WriteFile("bpf/SUMS", []byte(sums(t, clang())), 0o666))
	}
	committed, err := os.ReadFile("bpf/SUMS")
	must(t, err)
	_, compiler, _ := strings.Cut(strings.TrimSpace(string(committed)), "compiler: ")
	if got := sums(t, compiler); got != string(committed) {
		t.Fatalf("bpf/SUMS does not fit: go generate ./internal/nic is due. It has\n%sthe files have\n%s", committed, got)
	}
	if compiler != clang() {
		t.Skipf("the sums are right; to make the objects again takes %s, here is %q", compiler, clang())
	}
	remake(t)
}

// remake runs the command of objects.go with another directory for what comes out.
func remake(t *testing.T) {
	text, err := os.ReadFile("objects.go")
	must(t, err)
	_, rest, _ := strings.Cut(string(text), "//go:generate ")
	line, _, _ := strings.Cut(rest, "\n")
	before, flags, ok := strings.Cut(line, " -cflags \"")
	cflags, after, ok2 := strings.Cut(flags, "\" ")
	if !ok || !ok2 {
		t.Fatalf("objects.go: %q is not the command that this test knows", line)
	}
	dir := t.TempDir()
	args := append(strings.Fields(before), "-output-dir", dir, "-cflags", cflags)
	args = append(args, strings.Fields(after)...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "GOPACKAGE=nic")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	for _, name := range []string{"kernel_bpfeb.o", "kernel_bpfel.o"} {
		made, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		committed, err := os.ReadFile(name)
		must(t, err)
		if !bytes.Equal(made, committed) {
			t.Errorf("%s: the sources make another: go generate ./internal/nic is due", name)
		}
	}
}

// What the kernel has to look at before it takes the programs is most of what a server
// does at its start. Half a million instructions, more than a second of a busy CPU, were
// the turns of a loop wherever it was called; it is a function of its own (permitted).
func TestProgramsAreVerifiedAtOnce(t *testing.T) {
	if err := Check(); err != nil {
		t.Skip(err)
	}
	spec, err := loadKernel()
	must(t, err)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	must(t, err)
	defer loaded.Close()
	for name, p := range loaded.Programs {
		var looked int
		_, log, ok := strings.Cut(p.VerifierLog, "processed ")
		if _, err := fmt.Sscanf(log, "%d insns", &looked); !ok || err != nil {
			t.Fatalf("%s: %v in what the kernel says:\n%s", name, err, p.VerifierLog)
		}
		if t.Logf("%s: %d instructions", name, looked); looked > 100_000 {
			t.Errorf("%s: the kernel looks at %d instructions", name, looked)
		}
	}
}
