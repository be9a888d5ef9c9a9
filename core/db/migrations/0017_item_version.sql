-- Which version of its document a run made of a file: with that, the ledger is the history of every document.
alter table item add column version integer;
