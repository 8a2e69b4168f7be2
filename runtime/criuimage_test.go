package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// coreImage is an image as CRIU writes it: mtype, tc (opaque), thread_core with
// a negative nice value, the death signal and a command's name.
func coreImage(thread ...byte) []byte {
	message := []byte{1<<3 | wireVarint, 1, 3<<3 | wireBytes, 3, 'a', 'b', 'c'}
	message = append(message, coreThread<<3|wireBytes, byte(len(thread)))
	message = append(message, thread...)
	return image(coreMagic, message, []byte("more"))
}

func image(magic uint32, message, rest []byte) []byte {
	order := binary.NativeEndian
	data := order.AppendUint32(nil, imageMagic)
	data = order.AppendUint32(data, magic)
	data = order.AppendUint32(data, uint32(len(message)))
	return slices.Concat(data, message, rest)
}

var (
	threadHead = []byte{1<<3 | wireVarint, 0x80, 0x01, 3<<3 | wireVarint, 3}
	threadTail = []byte{13<<3 | wireBytes, 2, 's', 'h'}
)

func TestDeathSignalIsReplaced(t *testing.T) {
	none := coreImage(slices.Concat(threadHead, threadTail)...)
	inside := coreImage(slices.Concat(threadHead, []byte{threadDeathSignal << 3, 15}, threadTail)...)
	kill := coreImage(slices.Concat(threadHead, threadTail, []byte{threadDeathSignal << 3, 9})...)
	for _, c := range []struct {
		name  string
		image []byte
		death syscall.Signal
		want  []byte
	}{
		{"none stays none", none, 0, none},
		{"none to kill", none, syscall.SIGKILL, kill},
		{"term to none", inside, 0, none},
		{"term to kill", inside, syscall.SIGKILL, kill},
		{"kill to none", kill, 0, none},
		{"kill stays kill", kill, syscall.SIGKILL, kill},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.image)
			got, err := withDeathSignal(c.image, c.death)
			if err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("got %x, %v\nwant %x", got, err, c.want)
			}
			if !bytes.Equal(c.image, before) {
				t.Error("the argument was changed")
			}
		})
	}
}

func TestDamagedImagesAreRefused(t *testing.T) {
	good := coreImage(threadHead...)
	for name, damaged := range map[string][]byte{
		"empty":              {},
		"header alone":       good[:imageHeader],
		"cut":                good[:len(good)-6],
		"another kind":       image(pstreeMagic, []byte{coreThread<<3 | wireBytes, 0}, nil),
		"no thread":          image(coreMagic, []byte{1<<3 | wireVarint, 1}, nil),
		"length too large":   image(coreMagic, []byte{coreThread<<3 | wireBytes, 200}, nil),
		"length without end": image(coreMagic, []byte{coreThread<<3 | wireBytes, 0xff}, nil),
		"a group":            image(coreMagic, []byte{1<<3 | 3}, nil),
		"damaged thread":     coreImage(1<<3|wireFixed64, 1),
	} {
		if got, err := withDeathSignal(damaged, 9); !errors.Is(err, errBadImage) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestRootCoreIsThatOfTheFirstProcess(t *testing.T) {
	dir := t.TempDir()
	if name, err := rootCore(dir); err == nil {
		t.Errorf("an empty directory has %q", name)
	}
	first := []byte{pstreePid<<3 | wireVarint, 0xac, 0x02, 2<<3 | wireVarint, 0}
	if err := os.WriteFile(filepath.Join(dir, "pstree.img"), image(pstreeMagic, first, []byte("others")), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := rootCore(dir); err != nil || name != "core-300.img" {
		t.Errorf("%q, %v", name, err)
	}
}

func FuzzCoreImage(f *testing.F) {
	f.Add(coreImage(slices.Concat(threadHead, threadTail)...), byte(9))
	f.Add(coreImage(threadDeathSignal<<3, 15), byte(0))
	f.Add([]byte{}, byte(9))
	f.Fuzz(func(t *testing.T, data []byte, death byte) {
		changed, err := withDeathSignal(data, syscall.Signal(death))
		if err != nil {
			return
		}
		message, rest, err := firstMessage(changed, coreMagic)
		if err != nil || !bytes.HasSuffix(data, rest) {
			t.Fatalf("%v, rest %x", err, rest)
		}
		fields, err := splitFields(message)
		if err != nil || !bytes.Equal(joinFields(fields), message) {
			t.Fatalf("%v: the fields are not the message", err)
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.number == coreThread && f.wire == wireBytes })
		thread, err := splitFields(fields[i].value)
		if err != nil {
			t.Fatal(err)
		}
		if got, found := lastVarint(thread, threadDeathSignal); got != uint64(death) || found != (death != 0) {
			t.Fatalf("death signal %d, %v; want %d", got, found, death)
		}
		again, err := withDeathSignal(changed, syscall.Signal(death))
		if err != nil || !bytes.Equal(again, changed) {
			t.Fatalf("not the same twice: %v", err)
		}
	})
}
