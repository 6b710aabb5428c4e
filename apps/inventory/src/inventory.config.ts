import { defineConfig } from '@flotilla/service/config';

/** Inventory has no settings beyond those of every service. */
export class InventoryConfig extends defineConfig({}) {}
