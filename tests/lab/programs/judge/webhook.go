package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

// The host's own address on the lab's bridge, which the API server reaches.
const webhookAddress = "10.87.0.1:9443"

// Where its certificate lies while the judge runs.
var webhookAuthority = os.TempDir() + "/hostler-lab-webhook.pem"

// Webhook answers admission reviews: no on /denies and on /deletions, yes elsewhere.
func webhook() (stop func(), err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	about := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.ParseIP("10.87.0.1")},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, &about, &about, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(webhookAuthority, text, 0o600); err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", webhookAddress, &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(review), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close(); _ = os.Remove(webhookAuthority) }, nil
}

func review(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Request struct{ UID string }
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	allowed := r.URL.Path != "/denies" && r.URL.Path != "/deletions"
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"response": object{"uid": asked.Request.UID, "allowed": allowed,
			"status": object{"message": "a migration is under way"}}})
}
