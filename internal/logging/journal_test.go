package logging

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
)

func TestJournalGetsItsOwnProtocol(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	h, err := openJournal(path, "web", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	defer h.conn.Close()
	log := slog.New(h)
	log.Debug("not told")
	log.With("id", "x1").Warn("two\nlines", "error-text", "a=b")
	buffer := make([]byte, 4096)
	n, err := socket.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	want := "SYSLOG_IDENTIFIER=web\nSANDBOXRUN_ID=x1\nPRIORITY=4\nMESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\nSANDBOXRUN_ERROR_TEXT=a=b\n"
	if got := string(buffer[:n]); got != want {
		t.Errorf("the journal gets %q, want %q", got, want)
	}
	if h.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("debug is enabled at level info")
	}
	if _, err := openJournal(path+"x", "web", slog.LevelInfo); err == nil {
		t.Error("openJournal() without a journal succeeded")
	}
}

func TestLogLevels(t *testing.T) {
	for value, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "warn": slog.LevelWarn, "error": slog.LevelError, "ERROR": slog.LevelError,
	} {
		if got, err := parseLevel(value); err != nil || got != want {
			t.Errorf("parseLevel(%q) = %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"x", "panic", "1"} {
		if _, err := parseLevel(value); err == nil {
			t.Errorf("parseLevel(%q) succeeded", value)
		}
	}
}
