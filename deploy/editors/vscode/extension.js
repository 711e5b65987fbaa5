// Starts `penstock lsp` for the YAML files of a workspace.
const { workspace } = require('vscode');
const { LanguageClient } = require('vscode-languageclient/node');

let client;

exports.activate = function () {
  const command = workspace.getConfiguration('penstock').get('path');
  client = new LanguageClient(
    'penstock',
    'Penstock',
    { command, args: ['lsp'] },
    {
      documentSelector: [{ scheme: 'file', language: 'yaml' }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher('**/*.{yaml,yml,json}') },
    },
  );
  return client.start();
};

exports.deactivate = function () {
  return client && client.stop();
};
