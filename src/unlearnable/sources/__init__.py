"""Where images come from: built in, downloaded, a folder, a hub, or what authors have released."""
