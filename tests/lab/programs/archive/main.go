// Command archive packs static binaries into an image that `ctr images import` reads:
// a docker-archive, which is manifest.json, a config and one layer. Same input, same
// bytes.
//
//	archive -name registry.k8s.io/pause:3.10 -out pause.tar bin/pause
//	archive -name registry.k8s.io/kube-proxy:v1.36.3 -out kube-proxy.tar -tree nft bin/kube-proxy
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"
)

// Where the binaries lie inside the image; it is also first in the image's PATH, because
// kubeadm's static pods name their program without a folder.
const binFolder = "usr/local/bin"

func main() {
	log.SetFlags(0)
	log.SetPrefix("archive: ")
	name := flag.String("name", "", "image name with tag")
	out := flag.String("out", "", "file to write")
	tree := flag.String("tree", "", "folder whose files go into the image under the same paths, beside the binaries")
	flag.Parse()
	if *name == "" || *out == "" || flag.NArg() == 0 {
		log.Fatal("expected -name IMAGE -out FILE [-tree FOLDER] BINARY..., the first binary is the entry point")
	}
	layer, err := layerOf(flag.Args(), *tree)
	if err != nil {
		log.Fatal(err)
	}
	image, err := imageOf(*name, filepath.Base(flag.Arg(0)), layer)
	if err != nil {
		log.Fatal(err)
	}
	// Written beside and renamed: a broken run leaves no half image behind.
	if err := os.WriteFile(*out+".part", image, 0o644); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(*out+".part", *out); err != nil {
		log.Fatal(err)
	}
}

func layerOf(binaries []string, tree string) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, folder := range []string{"usr/", "usr/local/", binFolder + "/", "etc/", "tmp/"} {
		mode := int64(0o755)
		if folder == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: mode, ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
	}
	for _, path := range binaries {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := file(w, binFolder+"/"+filepath.Base(path), 0o755, data); err != nil {
			return nil, err
		}
	}
	if tree != "" {
		if err := filesOf(w, tree); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

// filesOf packs every file below tree, executable; links are followed, so that a library has the name it is asked for by.
func filesOf(w *tar.Writer, tree string) error {
	return filepath.Walk(tree, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		return file(w, name, 0o755, data)
	})
}

func imageOf(name, entry string, layer []byte) ([]byte, error) {
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64",
		"os":           "linux",
		"created":      "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Env":        []string{"PATH=/" + binFolder + ":/usr/sbin:/usr/bin"},
			"Entrypoint": []string{"/" + binFolder + "/" + entry},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	configName := digest(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return nil, err
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, part := range []struct {
		name string
		data []byte
	}{{"layer.tar", layer}, {configName, config}, {"manifest.json", manifest}} {
		if err := file(w, part.name, 0o644, part.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return image.Bytes(), nil
}

func file(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
