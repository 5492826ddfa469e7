// All that an acknowledging service needs: it works with `limit` of config.json. See ../README.md.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fsnotify/fsnotify"
)

type document struct{ Limit int }
type release struct{ Revision, Digest string }

func read(directory, name string, into any) error {
	text, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func main() {
	volume, file := os.Getenv("LOCKSTEP_CONFIG"), os.Getenv("LOCKSTEP_STATUS_FILE")
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(volume) // the folder: what is behind a link in it never changes
	}
	status := map[string]any{"protocol": 1, "instance": os.Getenv("LOCKSTEP_INSTANCE"), "switch": nil, "revision": nil, "digest": nil}
	for seen := ""; err == nil; {
		link, _ := os.Readlink(filepath.Join(volume, "current"))
		if link == seen {
			select { // the service's own work goes on in other goroutines
			case <-watcher.Events:
			case <-watcher.Errors:
			case <-time.After(time.Second): // events may be lost, and over a network there are none
			}
			continue
		}
		seen = link
		var about release
		var new document // everything is parsed and validated, below the one directory, before anything is assigned
		failed := read(filepath.Join(volume, link), ".lockstep/release.json", &about)
		if failed == nil {
			failed = read(filepath.Join(volume, link), "config.json", &new)
		}
		if failed == nil && new.Limit <= 0 {
			failed = errors.New("`limit` must be a whole number above 0")
		}
		if now, _ := os.Readlink(filepath.Join(volume, "current")); now != link {
			continue // what was loaded is of the past
		}
		number, _ := strconv.Atoi(filepath.Base(link))
		status["attempted"] = map[string]any{"switch": number, "revision": about.Revision}
		status["state"], status["error"], status["at"] = "applied", nil, time.Now().UTC()
		if failed != nil {
			status["state"], status["error"] = "rejected", map[string]any{"message": failed.Error(), "path": "config.json"}
		} else {
			status["switch"], status["revision"], status["digest"] = number, about.Revision, about.Digest
			fmt.Println("limit is", new.Limit)
		}
		text, _ := json.Marshal(status)
		if err = os.WriteFile(file+".new", text, 0o644); err == nil {
			err = os.Rename(file+".new", file)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
